"""From an Xid in the driver to the kubelet's list saying Unhealthy."""

import asyncio
import statistics
import time

from agent.simulation import machines
from bench.node import daemon, simulated_node
from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api


async def measure() -> dict[str, object]:
    times = []
    async with (
        simulated_node() as (folder, kubelet),
        daemon(folder, kubelet) as (_, socket, _),
        rpc.open_channel(socket) as channel,
    ):
        stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
        await stream.read()
        for gpu in range(8):
            began = time.perf_counter()
            machines.inject_xid(folder / "machine", str(gpu), 79)
            message = await asyncio.wait_for(stream.read(), 10)
            times.append(time.perf_counter() - began)
            marked = sum(device.health == "Unhealthy" for device in message.devices)
            if marked != gpu + 1:
                raise RuntimeError(f"{marked} GPUs are unhealthy after {gpu + 1} Xids")
    return {
        "what": "Xid injected to ListAndWatch message received",
        "milliseconds": 1e3 * statistics.median(times),
        "worst_milliseconds": 1e3 * max(times),
        "aim": "under 100",
    }
