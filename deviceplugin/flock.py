"""Waiting for a lock that another process holds."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading


async def lock(fd: int) -> None:
    """Return when the open file ``fd`` is locked; it is closed where that fails.

    A thread waits in flock(2), which the kernel ends the moment the holder lets go or dies. A
    wait that is given up leaves the thread behind: it ends, and gives back, as soon as it can.
    Raises OSError.
    """
    loop = asyncio.get_running_loop()
    locked: asyncio.Future[None] = loop.create_future()

    def settle(error: OSError | None) -> None:
        if locked.cancelled():
            os.close(fd)
        elif error is not None:
            locked.set_exception(error)
        else:
            locked.set_result(None)

    def wait() -> None:
        failure: OSError | None = None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, failure)
        except RuntimeError:  # the loop is closed: nobody waits any more
            os.close(fd)

    threading.Thread(target=wait, name="lock", daemon=True).start()
    try:
        await locked
    except BaseException:
        # A cancelled future says that the thread still has the file.
        if not locked.cancelled():
            os.close(fd)
        raise
