"""How long turns on shared GPUs last: set in the driver, and set back."""

import asyncio
import json
import subprocess
import sys

import mps_node as mps
import pytest
import yaml
from daemon_process import GPU, changed, simulated_node

from agent.simulation import machines
from deviceplugin.standin.pods import Container, Pod

SHARED = "nvidia.com/gpu.shared"
LONG, SHORT = 3, 1


def write_config(node, *entries):
    slicing = {"renameByDefault": True, "resources": list(entries)}
    config = {"version": "v1", "sharing": {"timeSlicing": slicing} if entries else {}}
    path = node.folder / "config.yaml"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(yaml.safe_dump(config))
    fresh.replace(path)
    return f"--config-file={path}"


def entry(devices, time_slice=None):
    slices = {} if time_slice is None else {"timeSlice": time_slice}
    return {"name": "gpu", "replicas": 4, "devices": devices, **slices}


async def told(node, expected):
    """Wait until the driver has been told the time slices of GPUs, by index."""
    store = node.machine / "time-slices"
    store.mkdir(exist_ok=True)
    wanted = {node.uuid(index): number for index, number in expected.items()}
    await changed(store, lambda: mps.slices(node) == wanted, timeout_s=20)


async def test_turns_are_as_long_as_configured_and_as_before_when_sharing_ends():
    async with simulated_node() as node:
        await node.serving(write_config(node, entry([5], "short"), entry([6, 7], "long")))
        await told(node, {5: SHORT, 6: LONG, 7: LONG})

        write_config(node, entry([5]), entry([6], "short"))
        await told(node, {6: SHORT})

        write_config(node)
        await told(node, {})
        written = node.machine / "var/lib/plumbline/time-slices"
        await changed(written, lambda: not list(written.iterdir()))


DIE_AFTER_SETTING = """
import os, signal
import agent.partition.time_slices as slices
tell = slices.run_program
def dying(*arguments, **more):
    tell(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
slices.run_program = dying
"""


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_agent_killed_in_between_leaves_what_the_next_one_finishes(wanted):
    async with simulated_node() as node:
        flag = write_config(node, entry([6, 7], "long"))
        killed = await node.start(flag, before=DIE_AFTER_SETTING)
        assert await asyncio.wait_for(killed.wait(), 20) == -9
        assert len(mps.slices(node)) == 1

        if not wanted:
            write_config(node)
        await node.serving(flag)
        await told(node, {6: LONG, 7: LONG} if wanted else {})


async def test_a_driver_that_knows_none_leaves_the_gpu_on_offer_and_says_so():
    async with simulated_node() as node:
        program = node.machine / "usr/bin/nvidia-smi"
        program.write_text("#!/bin/sh\necho 'Not Supported'; exit 3\n")
        await node.serving(write_config(node, entry([7], "long")))
        await node.logged("time_slice_failed")

        await node.kubelet.devices(SHARED, lambda now: sum(d.healthy for d in now.values()) == 4)
        shown = await asyncio.to_thread(status, node)
        assert "time slice long, not in force: setting the time slice of" in shown
        assert "Not Supported" in shown


def status(node, *flags):
    return subprocess.run(
        [
            *(sys.executable, "-m", "agent.cli.main", "sharing", "status"),
            *("--machine", str(node.machine), *flags),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout


async def test_the_status_says_how_every_gpu_is_shared_and_who_has_what():
    async with simulated_node() as node:
        await node.serving(write_config(node, entry([7], "long")))
        await told(node, {7: LONG})
        await node.kubelet.devices(SHARED, lambda now: len(now) == 4)
        await node.admit("whole", 1)
        holders = [await admit_share(node, f"p{n}") for n in range(2)]

        await until_named(node, 3)
        devices = json.loads(await asyncio.to_thread(status, node, "-o", "json"))
        assert [each["strategy"] for each in devices] == ["none"] * 7 + ["time-slicing"]
        shared = devices[7]
        assert (shared["resource"], shared["time_slice"]) == (SHARED, "long")
        assert shared["time_slice_fault"] is None
        assert {one["id"]: one["holder"] for one in shared["replicas"] if one["held"]} == {
            id_: f"default/p{n}" for n, (id_,) in enumerate(holders)
        }
        (whole,) = (each for each in devices if each["resource"] == GPU and each["replicas"])
        assert [one["holder"] for one in whole["replicas"]] == ["default/whole"]


async def until_named(node, count):
    """Wait until the kubelet has said so often which pod has what was allocated."""
    await changed(node.folder, lambda: node.log.read_text().count("event=allocated_to ") >= count)


async def admit_share(node, name):
    pod = Pod(name=name, containers=(Container(name="main", requests={SHARED: 1}),))
    (allocated,) = await node.kubelet.admit(pod)
    return sorted(allocated.device_ids)


async def test_replicas_follow_their_gpu_in_one_message():
    async with simulated_node() as node:
        await node.serving(write_config(node, entry([6, 7])))
        await node.kubelet.devices(SHARED, lambda now: len(now) == 8)
        message = f"event=devices_sent resource={SHARED} "
        await changed(node.folder, lambda: message in node.log.read_text())

        machines.inject_xid(node.machine, "7", 79)
        now = await node.kubelet.devices(
            SHARED, lambda now: sum(d.healthy for d in now.values()) < 8
        )

        unhealthy = {id_ for id_, device in now.items() if not device.healthy}
        assert unhealthy == {f"{node.uuid(7)}::{n}" for n in range(4)}
        assert node.log.read_text().count(message) == 2
