"""Waiting: for a condition that is re-examined on every change, and against cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class Pulse:
    """Wakes those who wait for a condition; carries no data, so nothing can be missed."""

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._waiters: set[asyncio.Future[None]] = set()

    def fire(self) -> None:
        """Let every waiter look at its condition again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float | None = None) -> bool:
        """Wait until ``condition()`` holds; return whether it does (False after the timeout)."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        while not condition():
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.add(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                return condition()
            finally:
                self._waiters.discard(waiter)
        return True


async def undisturbed(work: Coroutine[None, None, None]) -> None:
    """Finish ``work``, which must be bounded in time; let a cancellation through only then."""
    task = asyncio.ensure_future(work)
    disturbance: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as cancelled:
            disturbance = cancelled
    task.result()
    if disturbance is not None:
        raise disturbance
