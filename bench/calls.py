"""Round trips of Allocate and GetPreferredAllocation, call by call beside the floor's."""

import asyncio
import random
import statistics
import sys
import time

from bench.node import daemon, simulated_node
from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api


async def measure(rounds: int) -> dict[str, object]:
    async with (
        simulated_node() as (folder, kubelet),
        daemon(folder, kubelet) as (_, socket, _),
        _floor(folder / "floor.sock") as floor,
        rpc.open_channel(socket) as channel,
    ):
        # Kept open: a kubelet that let its stream end would be registered with again.
        stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
        ids = sorted(device.ID for device in (await stream.read()).devices)
        return {
            "allocate_2": await _beside(rpc.ALLOCATE, channel, floor, _allocations(ids), rounds),
            "prefer_4_of_8": await _beside(rpc.PREFER, channel, floor, _preferences(ids), rounds),
        }


async def _beside(method, channel, floor, requests, rounds):
    """Time both servers alternately, so that noise of the machine falls on both."""
    ours, theirs = [], []
    call, floor_call = method.on(channel), method.on(floor)
    for i in range(rounds + 20):
        request = requests[i % len(requests)]
        for times, target in ((ours, call), (theirs, floor_call)):
            began = time.perf_counter()
            await target(request)
            times.append(time.perf_counter() - began)
    # The first calls open connections and fill caches.
    ours, theirs = ours[20:], theirs[20:]
    return {
        "microseconds": 1e6 * statistics.median(ours),
        "floor_microseconds": 1e6 * statistics.median(theirs),
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "p99_ratio": _p99(ours) / _p99(theirs),
        "aim": "ratio at most 1.3",
        "rounds": rounds,
    }


def _p99(times):
    return statistics.quantiles(times, n=100)[98]


def _allocations(ids):
    pairs = [random.Random(seed).sample(ids, 2) for seed in range(28)]
    return [
        api.AllocateRequest(container_requests=[api.ContainerAllocateRequest(devices_ids=pair)])
        for pair in pairs
    ]


def _preferences(ids):
    # The kubelet sends ids in random order.
    orders = [random.Random(seed).sample(ids, len(ids)) for seed in range(50)]
    return [
        api.PreferredAllocationRequest(
            container_requests=[
                api.ContainerPreferredAllocationRequest(
                    available_deviceIDs=order, allocation_size=4
                )
            ]
        )
        for order in orders
    ]


class _floor:  # noqa: N801 - used as a function in an async with
    def __init__(self, socket):
        self._socket = socket

    async def __aenter__(self):
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.floor", str(self._socket)
        )
        self._channel = rpc.open_channel(self._socket)
        ready = rpc.PREFER.on(self._channel)
        await ready(api.PreferredAllocationRequest(), wait_for_ready=True)
        return self._channel

    async def __aexit__(self, *_):
        await self._channel.close()
        self._process.terminate()
        await self._process.wait()
