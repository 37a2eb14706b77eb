"""The daemon divides GPUs as its configuration orders, and hurts no pod on the way."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from daemon_process import GPU, changed, simulated_node
from mig_machine import divide, instances

from agent.model.mig import WantedInstance
from agent.partition.journal import Journal, Turn
from agent.simulation import machines
from deviceplugin.standin.pods import Container, Pod

SMALL, HALF = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
PLUMBLINE = Path(sys.executable).with_name("plumbline")


def write_config(node, layout, *, deadline="60s", **mig):
    """Order a layout of GPUs 0 and 1; the others stay as they are."""
    layouts = {
        "halves": [{"gpus": {"index": [0, 1]}, "instances": {"3g.40gb": 2}}],
        "small": [{"gpus": {"index": [0]}, "instances": {"1g.10gb": 7}}],
        "whole": [{"gpus": {"index": [0, 1]}, "enabled": False}],
        "wrong": [{"gpus": {"index": [0]}, "instances": {"3g.20gb": 2}}],
    }
    wanted = {"layouts": layouts, "drainDeadline": deadline, **mig}
    if layout is not None:
        wanted["layout"] = layout
    config = {"version": "v1", "flags": {"migStrategy": "mixed"}, "plumbline": {"mig": wanted}}
    path = node.folder / "config.yaml"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(yaml.safe_dump(config))
    fresh.replace(path)
    return path


async def admit(node, resource, count=1, name="p"):
    await node.kubelet.devices(
        resource, lambda now: sum(d.healthy for d in now.values()) >= count, timeout_s=20
    )
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, sorted(allocated.device_ids)


def told(node):
    """Return what was said of orders: state, reason and message, one after the other."""
    lines = [json.loads(line) for line in node.log.read_text().splitlines() if line[:1] == "{"]
    return [
        (each["state"], each["reason"], each["message"])
        for each in lines
        if each["event"] == "mig_order"
    ]


def messages(node, resource):
    """Count what the kubelet was sent about a resource."""
    lines = [json.loads(line) for line in node.log.read_text().splitlines() if line[:1] == "{"]
    sent = [each for each in lines if each["event"] == "devices_sent"]
    return sum(each["resource"] == resource for each in sent)


async def reported(node, state, reason="none", *, times=1):
    """Wait until an order's state was told so many times; return the last message."""

    def fitting():
        return [each for each in told(node) if each[:2] == (state, reason)]

    await changed(node.folder, lambda: len(fitting()) >= times, timeout_s=20)
    return fitting()[-1][2]


async def start(node, layout, **mig):
    path = write_config(node, layout, **mig)
    return await node.serving(
        "--config-file", str(path), "--mig-strategy=mixed", "--log-format=json"
    )


def shapes(node, gpu):
    return sorted(
        (each["profile"], each["start"]) for each in instances(node.machine, gpu).values()
    )


async def test_an_ordered_layout_is_carried_out_while_other_gpus_go_on():
    async with simulated_node(settled=True) as node:
        await start(node, None)
        await node.logged("devices_sent")
        before = messages(node, GPU)
        _, holds = await admit(node, GPU, name="elsewhere")
        uuids = [node.uuid(0), node.uuid(1)]
        assert not set(holds) & set(uuids)

        write_config(node, "halves")
        halves = await node.kubelet.devices(HALF, lambda now: len(now) == 4, timeout_s=20)

        assert all(each.healthy for each in halves.values())
        assert shapes(node, 0) == shapes(node, 1) == [("3g.40gb", 0), ("3g.40gb", 4)]
        assert await reported(node, "success")
        rest = await node.kubelet.devices(GPU, lambda now: len(now) == 6, timeout_s=20)
        assert set(rest) == {node.uuid(i) for i in range(2, 8)}
        assert all(each.healthy for each in rest.values())
        # Withheld, and gone: two messages about whole GPUs.
        assert messages(node, GPU) - before == 2


async def test_pods_on_the_gpus_are_waited_for_and_nothing_new_comes_meanwhile():
    async with simulated_node(settled=True) as node:
        divide(node.machine, 0, "9:2", "9:2")
        await start(node, None)
        pod, (held,) = await admit(node, HALF, name="works")
        whole = messages(node, GPU)

        write_config(node, "small")
        message = await reported(node, "pending", "waiting-for-pods")
        assert "GPU 0: 3g.40gb at" in message
        assert "is held by pod default/works" in message
        withheld = await node.kubelet.devices(
            HALF, lambda now: not any(d.healthy for d in now.values()), timeout_s=20
        )
        assert held in withheld
        assert held in instances(node.machine, 0)

        await node.kubelet.remove_pod(pod)
        small = await node.kubelet.devices(SMALL, lambda now: len(now) == 7, timeout_s=20)
        assert all(each.healthy for each in small.values())
        assert await reported(node, "success")
        # Nothing was said of the GPUs beside.
        assert messages(node, GPU) == whole


async def test_at_the_deadline_all_is_offered_again_as_it_was_and_tried_when_the_pod_has_ended():
    async with simulated_node(settled=True) as node:
        divide(node.machine, 0, "9:2", "9:2")
        await start(node, None)
        pod, _ = await admit(node, HALF, name="works")
        before = instances(node.machine, 0)

        write_config(node, "small", deadline="1s")
        message = await reported(node, "failed", "in-use")
        assert "GPU 0: 3g.40gb at 4 is held by pod default/works (possible now: 1g" in message
        assert message.endswith("; waited for 1 s")
        back = await node.kubelet.devices(
            HALF, lambda now: all(d.healthy for d in now.values()), timeout_s=20
        )
        assert set(back) == set(before) == set(instances(node.machine, 0))

        await node.kubelet.remove_pod(pod)
        await node.kubelet.devices(SMALL, lambda now: len(now) == 7, timeout_s=30)
        assert await reported(node, "success")


async def test_an_order_that_cannot_be_is_refused_and_the_next_one_taken():
    async with simulated_node(settled=True) as node:
        await start(node, "wrong")
        message = await reported(node, "failed", "refused")
        assert "no '3g.20gb', only" in message
        assert len(await node.kubelet.devices(GPU)) == 8

        write_config(node, "small")
        await node.kubelet.devices(SMALL, lambda now: len(now) == 7, timeout_s=20)
        assert await reported(node, "success")


async def test_taken_back_while_it_waits_everything_is_as_before():
    async with simulated_node(settled=True) as node:
        divide(node.machine, 0, "9:2", "9:2")
        await start(node, None)
        await admit(node, HALF, name="works")
        before = instances(node.machine, 0)
        write_config(node, "small")
        await reported(node, "pending", "waiting-for-pods")

        write_config(node, None)
        await node.kubelet.devices(
            HALF,
            lambda now: len(now) == 2 and all(d.healthy for d in now.values()),
            timeout_s=20,
        )
        assert set(instances(node.machine, 0)) == set(before)


async def test_what_a_killed_process_left_is_finished_before_anything_is_offered():
    async with simulated_node(settled=True) as node:
        divide(node.machine, 0, "9:2")
        journals = node.machine / "var/lib/plumbline/mig"
        journals.mkdir(parents=True)
        half = [WantedInstance(profile=9, compute=(2,), start=start) for start in (0, 4)]
        turn = Turn(gpu=node.uuid(0), before=(), after=tuple(half))
        left = Journal.begin(journals, (turn,))

        await start(node, None)

        offered = await node.kubelet.devices(HALF, lambda now: len(now) == 2, timeout_s=20)
        assert not left.path.exists()
        assert set(offered) == set(instances(node.machine, 0))
        assert "mig_recovered" in node.log.read_text()


async def test_killed_while_it_divides_the_next_start_ends_in_the_ordered_layout():
    async with simulated_node(settled=True) as node:
        path = write_config(node, "halves")
        dying = """
import os, signal, pynvml
real = pynvml.nvmlGpuInstanceCreateComputeInstance
made = []
def create(*arguments):
    found = real(*arguments)
    made.append(found)
    if len(made) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
pynvml.nvmlGpuInstanceCreateComputeInstance = create
"""
        flags = ("--config-file", str(path), "--mig-strategy=mixed", "--log-format=json")
        process = await node.start(*flags, before=dying)
        assert await process.wait() == -signal.SIGKILL
        assert len(list((node.machine / "var/lib/plumbline/mig").glob("*.journal"))) == 1

        await node.start(*flags)

        await node.kubelet.devices(HALF, lambda now: len(now) == 4, timeout_s=20)
        assert shapes(node, 0) == shapes(node, 1) == [("3g.40gb", 0), ("3g.40gb", 4)]
        assert await reported(node, "success")
        assert list((node.machine / "var/lib/plumbline/mig").glob("*.journal")) == []


async def test_a_gpu_that_needs_a_reset_is_reset_with_leave_and_watched_again_after_it():
    async with simulated_node("dgx-a100", settled=True) as node:
        path = node.folder / "config.yaml"
        mig = {
            "layout": "one",
            "allowReset": True,
            "layouts": {"one": [{"gpus": {"index": 0}, "instances": {"3g.20gb": 2}}]},
        }
        path.write_text(yaml.safe_dump({"version": "v1", "plumbline": {"mig": mig}}))
        await node.serving("--config-file", str(path), "--mig-strategy=mixed", "--log-format=json")

        half = "nvidia.com/mig-3g.20gb"
        await node.kubelet.devices(half, lambda now: len(now) == 2, timeout_s=20)
        machines.inject_xid(node.machine, "1", 79)

        await node.kubelet.devices(
            GPU, lambda now: sum(not d.healthy for d in now.values()) == 1, timeout_s=20
        )


async def test_the_command_line_knows_what_pods_hold():
    async with simulated_node(settled=True) as node:
        divide(node.machine, 0, "9:2", "9:2")
        await start(node, None)
        _, (held,) = await admit(node, HALF, name="works")
        command = [PLUMBLINE, "mig", "apply", "-c", "all-1g.10gb", "--gpu", "0"]
        where = ["--machine", str(node.machine), "--kubelet-dir", str(node.kubelet.directory)]

        done = await asyncio.to_thread(
            subprocess.run, [*command, *where], capture_output=True, text=True, check=False
        )

        assert done.returncode == 4
        assert "is held by pod default/works" in done.stderr
        assert held in instances(node.machine, 0)


async def test_a_kubelet_without_pods_is_given_time_by_the_command_line_too():
    async with simulated_node() as node:
        divide(node.machine, 0, "9:2")
        command = [PLUMBLINE, "mig", "apply", "-c", "all-1g.10gb", "--gpu", "0"]
        where = ["--machine", str(node.machine), "--kubelet-dir", str(node.kubelet.directory)]
        settle(node, age_s=60)

        done = await asyncio.to_thread(
            subprocess.run, [*command, *where], capture_output=True, text=True, check=False
        )

        assert done.returncode == 1
        assert "may not know all its pods yet; try again in 5" in done.stderr
        assert [profile for profile, _ in shapes(node, 0)] == ["3g.40gb"]


def settle(node, *, age_s=3600):
    """Let the kubelet have been started long ago."""
    long_ago = time.time() - age_s
    os.utime(node.folder / "pod-resources" / "kubelet.sock", (long_ago, long_ago))


async def test_nothing_is_divided_while_the_kubelet_may_not_know_its_pods():
    async with simulated_node() as node:
        await start(node, "halves")
        await reported(node, "pending", "waiting-for-kubelet")
        assert shapes(node, 0) == []
        assert all(d.healthy for d in (await node.kubelet.devices(GPU)).values())

        settle(node)
        await node.kubelet.devices(HALF, lambda now: len(now) == 4, timeout_s=20)
        assert await reported(node, "success")


async def test_what_a_pod_was_given_is_left_alone_when_a_change_is_finished():
    async with simulated_node(settled=True) as node:
        divide(node.machine, 0, "9:2", "9:2")
        process = await start(node, None)
        _, (held,) = await admit(node, HALF, name="works")
        process.kill()
        await process.wait()
        journals = node.machine / "var/lib/plumbline/mig"
        journals.mkdir(parents=True, exist_ok=True)
        half = [WantedInstance(profile=9, compute=(2,), start=at) for at in (0, 4)]
        left = Journal.begin(journals, (Turn(gpu=node.uuid(0), before=tuple(half), after=()),))

        await start(node, None)
        await changed(node.folder, lambda: "mig_recovered" in node.log.read_text())

        # It could not go forward, and was so before: undone.
        assert held in instances(node.machine, 0)
        assert shapes(node, 0) == [("3g.40gb", 0), ("3g.40gb", 4)]
        now = await node.kubelet.devices(
            HALF, lambda now: len(now) == 2 and all(d.healthy for d in now.values()), timeout_s=20
        )
        assert held in now
        assert not left.path.exists()
