"""Notices that the configuration file holds something else than it did."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from asyncinotify import Inotify, Mask

# A file replaced by rename, a symlink re-pointed (ConfigMap volumes swap a `..data` link),
# a file written in place.
WRITES = Mask.CREATE | Mask.MOVED_TO | Mask.CLOSE_WRITE | Mask.DELETE

# A folder that is itself replaced takes its watch along; then only looking helps.
LOOK_EVERY_S = 30.0


async def changes(path: Path) -> AsyncIterator[None]:
    """Yield each time the file's content differs from what it was at the last yield."""
    known = _digest(path)
    while True:
        with Inotify() as inotify:
            for folder in _folders(path):
                inotify.add_watch(folder, WRITES | Mask.ONLYDIR)
            while (seen := _digest(path)) == known:
                if not await _next_event(inotify):
                    break
        if seen != known:
            known = seen
            yield


async def _next_event(inotify: Inotify) -> bool:
    try:
        await asyncio.wait_for(inotify.get(), LOOK_EVERY_S)
    except TimeoutError:
        return False
    return True


def _folders(path: Path) -> set[Path]:
    # Where the name stands, and where the file it leads to stands.
    return {folder for folder in (path.parent, path.resolve().parent) if folder.is_dir()}


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        # Gone for a moment, or for good: reading it again says so to the operator.
        return b""
