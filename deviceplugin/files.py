"""Telling whether a file is still the one it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from msgspec import Struct


class FileIdentity(Struct, frozen=True, kw_only=True):
    """What distinguishes one file from another that later takes its path.

    Inode numbers are reused at once on some file systems, so the time of the last write is
    part of it: for a socket, that is when it was bound. Changing its mode does not count.
    """

    device: int
    inode: int
    modified_ns: int


def identify_socket(path: Path) -> FileIdentity | None:
    """Return which socket is at ``path``; None when there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISSOCK(status.st_mode):
        return None
    return FileIdentity(device=status.st_dev, inode=status.st_ino, modified_ns=status.st_mtime_ns)


def inode(path: Path | int) -> tuple[int, int] | None:
    """Return device and inode of a path or open file; None when the path leads nowhere."""
    try:
        status = os.stat(path)  # noqa: PTH116  # also of open files
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
