"""Looks at a directory whenever it changes, also while it does not exist."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import asyncinotify
from asyncinotify import Inotify, Mask
from msgspec import Struct

from deviceplugin.files import inode

_CHANGES = (
    Mask.CREATE
    | Mask.MOVED_TO
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_ENDS = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED
# Without inotify (its limits are shared by the whole node) looking is all that is left.
_BLIND_POLL_S = 1.0


class _Armed(Struct, frozen=True, kw_only=True):
    path: Path
    inode: tuple[int, int]
    watch: asyncinotify.Watch


async def watch(directory: Path, look: Callable[[], None], *, poll_s: float) -> None:
    """Call ``look`` now, after each change in ``directory``, and every ``poll_s``; forever.

    While the directory does not exist, its nearest existing ancestor is watched.
    """
    try:
        inotify = Inotify()
    except OSError:
        await _poll(look)
    with inotify:
        armed: _Armed | None = None
        while True:
            armed = _arm(inotify, armed, directory)
            look()
            event = await _change(inotify, directory, poll_s)
            if armed is not None and event is not None and _ends(event, armed.watch):
                # An inode number may be in use again by now, so it would prove nothing.
                _disarm(inotify, armed.watch)
                armed = None


async def _poll(look: Callable[[], None]) -> None:
    while True:
        look()
        await asyncio.sleep(_BLIND_POLL_S)


def _arm(inotify: Inotify, armed: _Armed | None, directory: Path) -> _Armed | None:
    """Watch what can be watched now; None when it went away under our hands."""
    while (found := _nearest(directory)) is not None:
        path, inode_now = found
        if armed is not None and (armed.path, armed.inode) == found:
            # Nothing nearer has appeared since this watch was added, so none is missed.
            return armed
        if armed is not None:
            _disarm(inotify, armed.watch)
        try:
            armed = _Armed(path=path, inode=inode_now, watch=inotify.add_watch(path, _CHANGES))
        except FileNotFoundError:
            armed = None
        except OSError:
            # No more watches, or no right to look: the next poll tries again.
            return None
    return None


def _disarm(inotify: Inotify, watch: asyncinotify.Watch) -> None:
    # The kernel drops a watch by itself when its directory goes.
    with contextlib.suppress(OSError):
        inotify.rm_watch(watch)


def _nearest(directory: Path) -> tuple[Path, tuple[int, int]] | None:
    for path in (directory, *directory.parents):
        found = inode(path)
        if found is not None:
            return path, found
    return None


async def _change(inotify: Inotify, directory: Path, poll_s: float) -> asyncinotify.Event | None:
    """Return the next event that matters; None when it is time to look anyway."""
    try:
        async with asyncio.timeout(poll_s):
            while not _concerns(event := await inotify.get(), directory):
                pass
            return event
    except TimeoutError:
        return None


def _ends(event: asyncinotify.Event, watch: asyncinotify.Watch) -> bool:
    return event.watch is watch and bool(event.mask & _ENDS)


def _concerns(event: asyncinotify.Event, directory: Path) -> bool:
    """Return whether an event is about the directory, not about a neighbour of it."""
    if event.watch is None or event.name is None:
        return True
    path = event.watch.path / event.name
    return path == directory or directory in path.parents or path in directory.parents
