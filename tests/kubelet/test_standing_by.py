"""A second daemon on a node waits for the first one to end, and is ready when it does."""

import asyncio
import json
import signal

import pytest
from daemon_process import GPU, changed, simulated_node

from agent.simulation import machines

# The promise is two seconds; a busy machine gets a few more before a test calls it broken.
SOON_S = 6.0
CDI = ("--device-list-strategy", "cdi-cri")
SPEC = "var/run/cdi/k8s.device-plugin.nvidia.com-gpu.json"


def events(node):
    return [json.loads(line) for line in node.log.read_text().splitlines() if line[:1] == "{"]


async def standing_by(node, *flags, **options):
    """Start a second daemon; return it once it has said that it waits."""
    node.log.write_text("")
    process = await node.start(*flags, env={"PLUMBLINE_LOG_FORMAT": "json"}, **options)
    await node.logged("standing_by")
    return process


async def offered(node, predicate=bool):
    return await node.kubelet.devices(GPU, predicate, timeout_s=SOON_S)


def written(folder):
    return {(path, path.lstat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


async def test_a_second_daemon_says_whom_it_waits_for_and_touches_nothing():
    async with simulated_node() as node:
        first = await node.serving(*CDI)
        before = written(node.kubelet.directory) | written(node.machine / "var/run/cdi")
        second = await standing_by(node, "--device-list-strategy", "envvar")

        (told,) = [event for event in events(node) if event["event"] == "standing_by"]
        assert told["holder"].startswith(f"pid {first.pid} on ")
        assert second.returncode is None
        now = written(node.kubelet.directory) | written(node.machine / "var/run/cdi")
        assert now == before
        assert node.kubelet.registrations == [GPU]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_it_takes_over_when_the_first_ends(end):
    async with simulated_node() as node:
        first = await node.serving(*CDI)
        held, _ = await node.admit("survivor", 3)
        second = await standing_by(node, *CDI)
        first.send_signal(end)
        await first.wait()
        await node.kubelet.registered(GPU, times=2, timeout_s=SOON_S)

        devices = await offered(node, lambda now: len(now) == 8)
        assert all(device.healthy for device in devices.values())
        assert second.returncode is None
        assert (node.machine / SPEC).exists()
        again, _ = await node.admit("newcomer", 5)
        assert set(held).isdisjoint(again)
        assert await node.stop(second) == 0


async def test_it_may_end_while_it_waits_and_nobody_notices():
    async with simulated_node() as node:
        first = await node.serving(*CDI)
        before = written(node.kubelet.directory)
        second = await standing_by(node, *CDI)

        assert await node.stop(second) == 0
        assert written(node.kubelet.directory) == before
        assert node.kubelet.registrations == [GPU]
        assert node.kubelet.allocatable == {GPU: 8}
        assert await node.stop(first) == 0


async def test_what_happened_while_it_waited_is_known_when_it_serves():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\n")
        first = await node.serving()
        await standing_by(node, "--config-file", str(config))
        # It watches the node from before it has read it, and hears of nothing earlier.
        await node.logged("node_read")
        machines.inject_xid(node.machine, "5", 79)
        # Both instances hear of it, in any order; it is the second that must have.
        await changed(node.folder, lambda: any(e["event"] == "xid" for e in events(node)))
        config.write_text("version: v1\nflags: {plugin: {deviceIDStrategy: index}}\n")
        await changed(node.folder, lambda: any(event.get("changed") for event in events(node)))
        first.kill()
        await first.wait()

        await node.kubelet.registered(GPU, times=2, timeout_s=SOON_S)
        devices = await offered(node, lambda now: len(now) == 8)
        assert [i for i, d in devices.items() if not d.healthy] == [node.uuid(5)]
        _, given = await node.admit("pod", 7)
        assert given.envs["NVIDIA_VISIBLE_DEVICES"] == "0,1,2,3,4,6,7"


async def test_several_wait_and_one_takes_over():
    async with simulated_node() as node:
        first = await node.serving()
        waiting = [await standing_by(node), await standing_by(node)]
        assert await node.stop(first) == 0
        await node.kubelet.registered(GPU, times=2, timeout_s=SOON_S)
        await offered(node, lambda now: len(now) == 8)

        assert [each.returncode for each in waiting] == [None, None]
        assert node.kubelet.registrations == [GPU, GPU]
        for process in waiting:
            assert await node.stop(process) == 0


async def test_one_that_could_not_serve_ends_at_once_and_the_first_goes_on():
    async with simulated_node() as node:
        await node.serving()
        second = await node.start("--driver-root-ctr-path", str(node.folder))

        assert await asyncio.wait_for(second.wait(), 20) == 3
        assert node.kubelet.registrations == [GPU]
        assert node.kubelet.allocatable == {GPU: 8}
