"""Blocking calls off the event loop."""

import asyncio
import threading

import pytest

from agent.daemon.threads import in_thread


def workers():
    return {each for each in threading.enumerate() if each.name == "blocking-calls"}


async def test_a_call_is_made_elsewhere_and_what_it_returns_or_raises_comes_back():
    def divide(a, *, by):
        return a / by, threading.current_thread()

    found, thread = await in_thread(divide, 6, by=3)

    assert found == 2
    assert thread is not threading.main_thread()
    with pytest.raises(ZeroDivisionError):
        await in_thread(divide, 1, by=0)


async def test_no_call_waits_for_another_and_one_that_hangs_is_left_behind():
    hanging, released = threading.Event(), threading.Event()

    def hang():
        hanging.set()
        released.wait()

    stuck = [asyncio.create_task(in_thread(hang)) for _ in range(4)]
    await in_thread(hanging.wait)
    for each in stuck:
        each.cancel()
    assert await asyncio.gather(*stuck, return_exceptions=True)
    for number in range(20):
        assert await in_thread(lambda number=number: number) == number
    released.set()


async def test_threads_are_used_again_and_few_are_kept():
    before = workers()
    together = threading.Barrier(12)
    await asyncio.gather(*(in_thread(together.wait) for _ in range(12)))
    async with asyncio.timeout(10):
        while len(workers() - before) > 2:  # noqa: ASYNC110 - a thread's end tells nobody
            await asyncio.sleep(0.01)

    used = set()
    for _ in range(50):
        used.add(await in_thread(threading.current_thread))
        await asyncio.sleep(0)
    assert len(used) < 25
