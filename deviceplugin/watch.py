"""Looks at a directory whenever it changes, also while it does not exist."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncinotify
from asyncinotify import Inotify, Mask

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
# Without inotify (its limits are shared by the whole node) looking is all that is left.
_BLIND_POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Armed:
    inode: tuple[int, int]
    watch: asyncinotify.Watch


async def watch(directory: Path, look: Callable[[], None], *, poll_s: float) -> None:
    """Call ``look`` now, after each change in ``directory``, and every ``poll_s``; forever.

    The nearest existing ancestor is watched too, so that a directory that is removed and
    made again, or not there yet, is noticed as soon as one inside it.
    """
    try:
        inotify = Inotify()
    except OSError:
        await _poll(look)
    with inotify:
        armed: dict[Path, _Armed] = {}
        while True:
            _arm(inotify, armed, directory)
            look()
            await _change(inotify, directory, poll_s)


async def _poll(look: Callable[[], None]) -> None:
    while True:
        look()
        await asyncio.sleep(_BLIND_POLL_S)


def _arm(inotify: Inotify, armed: dict[Path, _Armed], directory: Path) -> None:
    wanted = dict(_existing(directory))
    for path in [path for path, old in armed.items() if wanted.get(path) != old.inode]:
        _disarm(inotify, armed.pop(path).watch)
    for path in wanted.keys() - armed.keys():
        try:
            watch = inotify.add_watch(path, _CHANGES)
        except OSError:
            # Gone in between, or no more watches: the next poll tries again.
            continue
        armed[path] = _Armed(inode=wanted[path], watch=watch)


def _disarm(inotify: Inotify, watch: asyncinotify.Watch) -> None:
    try:
        inotify.rm_watch(watch)
    except OSError:
        # The kernel dropped it with its directory.
        return


def _existing(directory: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    found = inode(directory)
    if found is not None:
        yield directory, found
    for ancestor in directory.parents:
        found = inode(ancestor)
        if found is not None:
            yield ancestor, found
            return


async def _change(inotify: Inotify, directory: Path, poll_s: float) -> None:
    try:
        async with asyncio.timeout(poll_s):
            while not _concerns(await inotify.get(), directory):
                pass
    except TimeoutError:
        return


def _concerns(event: asyncinotify.Event, directory: Path) -> bool:
    """Return whether an event is about the directory, not about a neighbour of it."""
    if event.watch is None or event.name is None:
        return True
    path = event.watch.path / event.name
    return path == directory or directory in path.parents or path in directory.parents
