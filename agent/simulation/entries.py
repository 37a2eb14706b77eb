"""What a rendered machine consists of: files, links and device nodes, as values."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct


class File(Struct, frozen=True):
    """A regular file; ``path`` is relative to the machine's folder."""

    path: str
    content: bytes
    executable: bool = False


class Link(Struct, frozen=True):
    """A symbolic link to another path of the machine, made relative as sysfs makes its own."""

    path: str
    target: str
    """Relative to the machine's folder."""


class DeviceNode(Struct, frozen=True):
    """A character device; a regular file where this process may not make one."""

    path: str
    major: int
    minor: int


class Folder(Struct, frozen=True):
    """A folder that may stay empty."""

    path: str


Entry = File | Link | DeviceNode | Folder

_DEVICE_MODE = 0o20666  # S_IFCHR, open to all, as the driver makes its nodes


def text(path: str, content: str | int) -> File:
    """Return a file with one line, as sysfs attributes are."""
    return File(path, f"{content}\n".encode())


def write(folder: Path, entries: Iterable[Entry]) -> None:
    """Write entries below ``folder``; raise OSError."""
    made: set[str] = set()
    base = str(folder)
    for entry in entries:
        path = f"{base}/{entry.path}"
        _make_parents(path.rpartition("/")[0], made)
        match entry:
            case File(content=content, executable=executable):
                with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - thousands of files
                    file.write(content)
                    if executable:
                        os.fchmod(file.fileno(), 0o755)
            case Link(path=at, target=target):
                os.symlink(relative(at, target), path)  # noqa: PTH211 - thousands of links
            case DeviceNode():
                _make_node(path, entry)
            case Folder():
                _make_parents(path, made)


def relative(at: str, target: str) -> str:
    """Return ``target`` as seen from the folder that holds the link ``at``."""
    here, there = at.split("/")[:-1], target.split("/")
    shared = 0
    while shared < min(len(here), len(there) - 1) and here[shared] == there[shared]:
        shared += 1
    return "/".join([".."] * (len(here) - shared) + there[shared:])


def _make_parents(path: str, made: set[str]) -> None:
    if path not in made:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - called for thousands of files
        made.add(path)


def _make_node(path: str, node: DeviceNode) -> None:
    try:
        os.mknod(path, _DEVICE_MODE, os.makedev(node.major, node.minor))
        os.chmod(path, _DEVICE_MODE & 0o777)  # noqa: PTH101 - mknod obeys the umask
    except PermissionError:
        with open(path, "xb"):  # noqa: PTH123 - without CAP_MKNOD a file of that name stands in
            pass
