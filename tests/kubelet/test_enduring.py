import asyncio
import gc
import threading
import time

import psutil

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


def holdings():
    gc.collect()
    process = psutil.Process()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": process.num_threads(),
        "python threads": threading.active_count(),
        "files": process.num_fds(),
    }


def assert_no_more(after, before):
    """What is just ending may be counted once or not; a leak is counted in every turn."""
    grown = {what: after[what] - before[what] for what in after}
    assert all(more <= 5 for more in grown.values()), grown


async def cycle(kubelet):
    await kubelet.restart()
    await kubelet.devices(GPU)
    await kubelet.devices(MIG)
    await kubelet.settled()


async def test_fifty_kubelet_restarts_cost_nothing_that_lasts(bench, kubelet, devices):
    bench.run({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(GPU)
    for _ in range(5):
        await cycle(kubelet)
    before = holdings()

    for _ in range(50):
        await cycle(kubelet)

    after = holdings()
    assert_no_more(after, before)
    assert kubelet.registrations.count(GPU) == 56


async def test_a_thousand_allocations_cost_nothing_that_lasts(bench, kubelet, devices, pod):
    bench.run({GPU: devices(*(f"g{n}" for n in range(8)))})
    await kubelet.devices(GPU)
    trainer = pod(main={GPU: 2})

    async def serve(times):
        for _ in range(times):
            await kubelet.admit(trainer)
            await kubelet.remove_pod(trainer)

    await serve(50)
    before = holdings()
    await serve(1000)
    after = holdings()

    assert_no_more(after, before)
    assert kubelet.registrations == [GPU]


async def test_waiting_costs_no_time(bench, kubelet, devices, notes):
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    loop = asyncio.get_running_loop()
    turns = 0
    run_once = loop._run_once

    def counted():
        nonlocal turns
        turns += 1
        run_once()

    loop._run_once = counted
    begin, used = loop.time(), time.process_time()
    # Nothing can be awaited here but time itself.
    await loop.run_in_executor(None, time.sleep, 0.5)
    loop._run_once = run_once

    assert loop.time() - begin >= 0.5
    assert turns < 20
    assert time.process_time() - used < 0.1
