"""Memory, CPU, threads and file descriptors of the daemon, at rest and over many events."""

import asyncio
import contextlib
import statistics
import sys
import time

import psutil

from bench.node import daemon, simulated_node
from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api


async def measure(idle_seconds: float, allocations: int, restarts: int) -> dict[str, object]:
    async with (
        simulated_node() as (folder, kubelet),
        daemon(folder, kubelet) as (pid, socket, _),
        _floor(folder / "floor.sock") as floor,
    ):
        process = psutil.Process(pid)
        stream, ids = await _watch(socket)
        rest = await _at_rest(process, floor, idle_seconds)
        before = _handles(process)
        await _allocate(socket, ids, allocations)
        after_allocations = _handles(process)
        stream.cancel()
        await _restart(kubelet, folder, restarts)
        return {
            "at_rest": rest,
            "allocations": allocations,
            "kubelet_restarts": restarts,
            "before": before,
            "after_allocations": after_allocations,
            "after_restarts": _handles(process),
            "resident_mib_after": process.memory_info().rss / 2**20,
        }


async def _at_rest(process, floor, seconds):
    """Watch the daemon and the empty service through the same seconds."""
    # What starting left behind is not rest.
    await asyncio.sleep(2)
    began = time.perf_counter()
    used, floor_used = _cpu(process), _cpu(floor)
    resident = []
    while time.perf_counter() - began < seconds:
        await asyncio.sleep(1)
        resident.append(process.memory_info().rss / 2**20)
    elapsed = time.perf_counter() - began
    return {
        "resident_mib": statistics.median(resident),
        "floor_resident_mib": floor.memory_info().rss / 2**20,
        "aim_resident_mib": "under 60",
        "cpu_percent": 100 * (_cpu(process) - used) / elapsed,
        "floor_cpu_percent": 100 * (_cpu(floor) - floor_used) / elapsed,
        "aim_cpu_percent": "under 0.2",
        "seconds": seconds,
    }


def _cpu(process):
    return sum(process.cpu_times()[:2])


@contextlib.asynccontextmanager
async def _floor(socket):
    """Run the empty service; yield its process."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.floor", str(socket))
    async with rpc.open_channel(socket) as channel:
        call = rpc.PREFER.on(channel)
        await call(api.PreferredAllocationRequest(), wait_for_ready=True)
        yield psutil.Process(process.pid)
    process.terminate()
    await process.wait()


def _handles(process):
    return {"threads": process.num_threads(), "fds": process.num_fds()}


async def _watch(socket):
    channel = rpc.open_channel(socket)
    stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
    message = await stream.read()
    return stream, [device.ID for device in message.devices]


async def _allocate(socket, ids, count):
    async with rpc.open_channel(socket) as channel:
        allocate = rpc.ALLOCATE.on(channel)
        for i in range(count):
            container = api.ContainerAllocateRequest(devices_ids=[ids[i % len(ids)]])
            await allocate(api.AllocateRequest(container_requests=[container]))


async def _restart(kubelet, folder, count):
    for _ in range(count):
        await kubelet.stop()
        for socket in (folder / "kubelet").glob("*.sock"):
            socket.unlink()
        await kubelet.start()
        endpoint, _ = await asyncio.wait_for(kubelet.registered.get(), 10)
        async with rpc.open_channel(folder / "kubelet" / endpoint) as channel:
            stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
            await stream.read()
            stream.cancel()
