"""From `plumbline run` to Register received, beside an interpreter that only registers."""

import asyncio
import statistics
import subprocess
import sys
import time

from bench.node import daemon, simulated_node


async def measure(rounds: int) -> dict[str, object]:
    ours, floor = [], []
    async with simulated_node() as (folder, kubelet):
        for _ in range(rounds):
            async with daemon(folder, kubelet) as (_, _, seconds):
                ours.append(seconds)
            floor.append(await _floor(kubelet))
    return {
        "what": "process start to Register received, dgx-h100",
        "seconds": statistics.median(ours),
        "floor_seconds": statistics.median(floor),
        "ratio": statistics.median(ours) / statistics.median(floor),
        "aim": "seconds under 1.0",
        "rounds": rounds,
    }


async def _floor(kubelet) -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.floor_start", str(kubelet.socket), stdout=subprocess.DEVNULL
    )
    _, moment = await asyncio.wait_for(kubelet.registered.get(), 30)
    await process.wait()
    return moment - began
