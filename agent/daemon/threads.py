"""Blocking calls off the event loop, on threads that never keep the process from ending."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Threads that are kept for another call. To begin one holds up whoever does it until it runs.
_KEPT = 2


class _Worker:
    """A thread that makes one call after another."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="blocking-calls", daemon=True).start()

    def make(self, call: Callable[[], None]) -> None:
        """Make a call, which raises nothing; do not wait for it."""
        self._calls.put(call)

    def _run(self) -> None:
        while True:
            self._calls.get()()
            if len(_idle) >= _KEPT:
                return
            _idle.append(self)


_idle: list[_Worker] = []


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the call returns, from a daemon thread that does nothing else meanwhile.

    Unlike the pool of asyncio, nothing joins this thread, and no call waits for another: one into
    a driver that hangs is left behind, with its thread, when the waiting task is cancelled.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # a T, as there is no error

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    worker.make(run)
    return await future
