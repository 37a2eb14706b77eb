"""Notices that the configuration file holds something else than it did."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncinotify import Event, Inotify, Mask

from agent.config.sources import read_bytes
from agent.model.errors import ConfigError

# A name that comes, goes or is re-pointed (ConfigMap volumes swap a `..data` link by rename),
# a file written in place, a permission given.
_CHANGES = (
    Mask.CREATE
    | Mask.MOVED_TO
    | Mask.MOVED_FROM
    | Mask.DELETE
    | Mask.CLOSE_WRITE
    | Mask.ATTRIB
    | Mask.ONLYDIR
)

# What inotify cannot tell: a mount over a folder, a write on another host of a network share.
LOOK_EVERY_S = 30.0

# Without inotify (its limits are shared by the whole node) looking is all that is left.
BLIND_POLL_S = 1.0

# Writers come in bursts: one look for all of them, however many there are.
SETTLE_S = 0.05

# Linux follows no more than this in one path (path_resolution(7)).
_MOST_LINKS = 40

# Of a name that leads nowhere: the folder that would hold it is watched, which is enough.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR}


async def changes(path: Path, known: bytes | None = None) -> AsyncIterator[None]:
    """Yield each time the file's content differs from what it was at the last yield.

    ``known`` is the digest of what was read before, taken before it was read; None takes what
    is there now. Never raises: a file that is missing or cannot be read counts as empty.
    """
    if known is None:
        known = digest(path)
    while True:
        with _StepWatch(path) as steps:
            # Only once every step to the file is watched: what changes later is an event.
            seen = digest(path)
            if seen == known:
                await steps.wait()
                continue
        known = seen
        yield


def digest(path: Path) -> bytes:
    """Return what tells one content from another; empty for a file that cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path)).digest()
    except (ConfigError, OSError, ValueError):
        # Gone for a moment, or for good: reading it again says so to the operator.
        return b""


class _StepWatch:
    """Watches each folder through which a path leads, for the one name in it that matters.

    All of them, because a folder or a link further up may be replaced as well.
    """

    def __init__(self, path: Path) -> None:
        """Start watching; where inotify does not help, ``wait`` just lets time pass."""
        self._names: dict[int, set[str]] = {}
        self._inotify: Inotify | None = None
        self._sees_all = False
        try:
            self._inotify = Inotify()
            self._sees_all = self._watch(path)
        except (OSError, ValueError):
            # No instance or no watch left, no right to look, a name that cannot be.
            self._sees_all = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()

    async def wait(self) -> None:
        """Return when it is time to look again."""
        if self._inotify is None:
            await asyncio.sleep(BLIND_POLL_S)
            return
        try:
            async with asyncio.timeout(LOOK_EVERY_S if self._sees_all else BLIND_POLL_S):
                while not self._concerns(await self._inotify.get()):
                    pass
        except TimeoutError:
            return
        await asyncio.sleep(SETTLE_S)

    def _watch(self, path: Path) -> bool:
        """Watch every step; return whether nothing can be missed. Raises OSError."""
        assert self._inotify is not None  # noqa: S101  # only the constructor calls
        for folder, name in _steps(path):
            try:
                watch = self._inotify.add_watch(folder, _CHANGES)
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise
                break
            self._names.setdefault(watch.wd, set()).add(name)
        return bool(self._names)

    def _concerns(self, event: Event) -> bool:
        """Return whether an event is about a step, not about a neighbour of one."""
        if event.watch is None or event.name is None:
            return True
        return str(event.name) in self._names[event.watch.wd]


def _steps(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield every folder on the way to a file and the name taken there, links followed.

    A name is looked at only after it was yielded: by then it is watched. Raises OSError for a
    relative path when the working directory is gone, and for a name that may not be read.
    """
    ahead = list(reversed(path.absolute().parts))
    folder = Path(ahead.pop())
    links = 0
    while ahead and links <= _MOST_LINKS:
        name = ahead.pop()
        if name == "..":
            folder = folder.parent
            continue
        yield folder, name
        target = _link_target(folder / name)
        if target is None:
            folder /= name
            continue
        links += 1
        ahead += reversed(target.parts)
        if target.is_absolute():
            folder = Path(ahead.pop())


def _link_target(path: Path) -> Path | None:
    try:
        return path.readlink()
    except OSError as error:
        if error.errno in {errno.EINVAL, *_NOT_THERE}:
            return None
        raise
