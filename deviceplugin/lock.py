"""One instance per kubelet directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from deviceplugin import flock
from deviceplugin.errors import DirectoryHeld, Holder
from deviceplugin.files import inode

LOCK_NAME = ".plumbline.lock"


class DirectoryLock:
    """Held through an open directory, so that a killed holder leaves no obstacle.

    The lock is on the directory itself, because whoever tidies it up removes its files. A file
    in it says who holds it, and is put back when it was removed.
    """

    def __init__(self, directory: Path) -> None:
        """Prepare; nothing is held yet."""
        self._directory = directory
        self._path = directory / LOCK_NAME
        self._directory_fd: int | None = None
        self._file_fd: int | None = None
        self._started = datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def held(self) -> bool:
        """Return whether the directory that is there now is ours."""
        return self._file_fd is not None and self._has_directory()

    def hold(self) -> bool:
        """Make sure the lock is held; False when there is no directory to hold.

        Raises DirectoryHeld when another instance has it, OSError when nothing can be
        written there.
        """
        try:
            if not self._has_directory():
                # Before the old one goes: who waits for that must not come first to this one.
                fresh = self._lock_directory()
                self._drop()
                self._directory_fd = fresh
            if self._file_fd is None or inode(self._file_fd) != inode(self._path):
                self._write_file()
        except FileNotFoundError:
            return False
        return True

    async def wait(self) -> None:
        """Wait until the holder lets go; ``hold`` says whether it is ours then.

        Raises OSError when the directory cannot be locked.
        """
        try:
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        await flock.lock(fd)
        self._drop()
        self._directory_fd = fd

    def release(self) -> None:
        """Let go; the file goes with it."""
        if self._file_fd is not None and inode(self._file_fd) == inode(self._path):
            self._path.unlink(missing_ok=True)
        self._drop()

    def _has_directory(self) -> bool:
        fd = self._directory_fd
        return fd is not None and inode(fd) == inode(self._directory)

    def _drop(self) -> None:
        for fd in (self._file_fd, self._directory_fd):
            if fd is not None:
                os.close(fd)
        self._file_fd = self._directory_fd = None

    def _lock_directory(self) -> int:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise DirectoryHeld(self._directory, self._holder()) from error
        return fd

    def _write_file(self) -> None:
        if self._file_fd is not None:
            os.close(self._file_fd)
            self._file_fd = None
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file_fd = os.open(self._path, flags, 0o644)
        os.ftruncate(self._file_fd, 0)
        os.write(self._file_fd, self._description())

    def _description(self) -> bytes:
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": self._started,
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        }
        return json.dumps(about).encode() + b"\n"

    def _holder(self) -> Holder | None:
        # The file may be missing, or half written: then the holder stays unnamed.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            about = json.loads(self._path.read_text())
            return Holder(
                pid=int(about["pid"]),
                host=str(about["host"]),
                started=str(about["started"]),
                command=str(about["command"]),
            )
        return None
