"""GPUs shared by turns, 128 Replicas of each of eight, beside the same node without sharing."""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time

import psutil

from bench.node import daemon, simulated_node
from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api

REPLICAS = 128
CONFIG = f"""version: v1
sharing: {{timeSlicing: {{resources: [{{name: gpu, replicas: {REPLICAS}}}]}}}}
"""
TURN = 50
AIM = "ratio at most 1.2"
# What starting left behind is not what a list costs.
SETTLE_S = 1.0


async def measure(rounds: int, starts: int) -> dict[str, object]:
    async with simulated_node() as shared, simulated_node() as whole:
        config = shared[0] / "config.yaml"
        config.write_text(CONFIG)
        pair = (shared, f"--config-file={config}"), (whole,)
        memory = [await _memory(pair) for _ in range(starts)]
        return {
            "replicas": 8 * REPLICAS,
            **await _in_process(shared[0] / "machine", rounds),
            "over_grpc": await _over_grpc(pair, rounds),
            "memory": _summary(memory) | {"aim": "more_mib under 4", "starts": starts},
        }


async def _in_process(machine, rounds):
    # A process has one driver for good.
    command = [sys.executable, "-m", "bench.sharing_snapshots", str(machine), str(rounds)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    return json.loads(done.stdout)


async def _memory(pair):
    """Return what both daemons have resident once a kubelet has their lists, MiB."""
    async with contextlib.AsyncExitStack() as stack:
        served = [await _Served.on(stack, *each) for each in pair]
        await asyncio.sleep(SETTLE_S)
        return [each.resident_mib for each in served]


def _summary(memory):
    shared, whole = zip(*memory, strict=True)
    return {
        "resident_mib": statistics.median(shared),
        "without_sharing_mib": statistics.median(whole),
        "more_mib": statistics.median(a - b for a, b in memory),
    }


async def _over_grpc(pair, rounds):
    """Ask first, while nothing is held; then allocate every device, over and over."""
    async with contextlib.AsyncExitStack() as stack:
        shared, whole = [await _Served.on(stack, *each) for each in pair]
        prefer = await _beside(shared.prefer, whole.prefer, rounds)
        allocate = await _beside(shared.allocate, whole.allocate, rounds) | {"aim": AIM}
        after = {"more_mib_after_calls": shared.resident_mib - whole.resident_mib}
        return {"prefer_1": prefer, "allocate_1": allocate, **after, "rounds": rounds}


class _Served:
    """A daemon that has told a kubelet of its devices."""

    def __init__(self, pid, channel, ids, stream):
        self._process = psutil.Process(pid)
        self._allocate, self._prefer = rpc.ALLOCATE.on(channel), rpc.PREFER.on(channel)
        self._ids = ids
        # Kept open: a kubelet that let its stream end would be registered with again.
        self._stream = stream
        self._calls = 0

    @classmethod
    async def on(cls, stack, node, *flags):
        pid, socket, _ = await stack.enter_async_context(daemon(*node, *flags))
        channel = await stack.enter_async_context(rpc.open_channel(socket))
        stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
        message = await stream.read()
        return cls(pid, channel, [device.ID for device in message.devices], stream)

    @property
    def resident_mib(self):
        return self._process.memory_info().rss / 2**20

    async def allocate(self):
        self._calls += 1
        one = self._ids[self._calls % len(self._ids)]
        container = api.ContainerAllocateRequest(devices_ids=[one])
        await self._allocate(api.AllocateRequest(container_requests=[container]))

    async def prefer(self):
        container = api.ContainerPreferredAllocationRequest(
            available_deviceIDs=self._ids, allocation_size=1
        )
        await self._prefer(api.PreferredAllocationRequest(container_requests=[container]))


async def _beside(shared, whole, rounds):
    """Time both daemons in turns, so that noise of the machine falls on both.

    In turns of many calls: what a daemon works out after it has answered must not fall into
    the other's time.
    """
    taken = [], []
    for _ in range(rounds // TURN + 1):
        for times, call in zip(taken, (shared, whole), strict=True):
            began = time.perf_counter()
            for _ in range(TURN):
                await call()
            times.append((time.perf_counter() - began) / TURN)
    # The first turn opens connections and fills caches.
    ours, theirs = (statistics.median(times[1:]) for times in taken)
    return {
        "microseconds": 1e6 * ours,
        "without_sharing_microseconds": 1e6 * theirs,
        "ratio": ours / theirs,
    }
