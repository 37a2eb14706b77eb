"""What is being changed, on disk from before the first Step until after the last.

A journal says how each GPU was divided and how it is to be. That is all a later process needs: it
looks at what is there and plans from that, whichever Step was under way. The Steps written after
it are for people. A process that is killed loses nothing that it wrote; only the start and the
change of mind to go back are forced to the disk, since a node that loses power loses its
instances with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from agent.model.errors import HardwareError
from agent.model.mig import WantedInstance
from agent.partition.written import sync_folder
from agent.telemetry import logs

SUFFIX = ".journal"
_SCRATCH = ".tmp"
_VERSION = 1
# Between writing a beginning and giving it its name lie milliseconds.
_DEAD_S = 3600.0


class Turn(Struct, frozen=True, kw_only=True):
    """How one GPU was divided, and how it is to be; every instance with its start.

    None: MIG mode off.
    """

    gpu: str
    before: tuple[WantedInstance, ...] | None
    after: tuple[WantedInstance, ...] | None


class _Head(Struct, frozen=True, kw_only=True):
    version: int
    pid: int
    turns: tuple[Turn, ...]


class _Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    doing: str | None = None
    """The Step that begins: those before it are done."""
    back: str | None = None
    """Why the change is being undone."""


class Journal:
    """A change that has begun and not ended."""

    def __init__(self, path: Path, turns: tuple[Turn, ...], *, back: bool = False) -> None:
        """Describe a journal that lies at ``path``."""
        self.path = path
        self.turns = turns
        self.back = back
        """True once it was decided to go back."""
        self._descriptor: int | None = None

    @classmethod
    def begin(cls, folder: Path, turns: tuple[Turn, ...]) -> Self:
        """Write down what is about to be changed. Raises HardwareError when that fails."""
        # By name in the order they began: of two about one GPU the later has the last word.
        path = folder / f"{time.time_ns():016x}-{secrets.token_hex(4)}{SUFFIX}"
        head = _Head(version=_VERSION, pid=os.getpid(), turns=turns)
        with _explained(path):
            scratch = path.with_suffix(_SCRATCH)
            _create(scratch, msgspec.json.encode(head) + b"\n")
            scratch.rename(path)
            sync_folder(folder)
        return cls(path, turns)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the journal at ``path``; None when it has ended meanwhile.

        Raises HardwareError when it cannot be read: what was begun is not known then.
        """
        with _explained(path):
            try:
                lines = path.read_bytes().splitlines()
            except FileNotFoundError:
                return None
            head = msgspec.json.decode(lines[0] if lines else b"", type=_Head)
            if head.version != _VERSION:
                raise HardwareError(
                    f"{path}: version {head.version} is another program's; finish the change with"
                    " the program that began it"
                )
        return cls(path, head.turns, back=any(_turns_back(line) for line in lines[1:]))

    def doing(self, step: str) -> None:
        """Write down that a Step begins."""
        self._note(_Line(doing=step))

    def go_back(self, reason: str) -> None:
        """Write down that from now on everything is undone."""
        self._note(_Line(back=reason), durable=True)
        self.back = True

    def end(self) -> None:
        """Remove it: the change is complete, or completely undone."""
        with _explained(self.path):
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _note(self, line: _Line, *, durable: bool = False) -> None:
        """Add a line. A full disk is no reason to stop halfway: the beginning says all it takes."""
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags)
            # The line before it may be torn.
            text = b"\n" + msgspec.json.encode(line) + b"\n"
            _write(self._descriptor, text, durable=durable)
        except OSError as error:
            logs.warning("mig_journal_unwritten", journal=self.path, reason=error)


def journals(folder: Path) -> tuple[Path, ...]:
    """Return the journals in a folder, in one order. Raises HardwareError."""
    with _explained(folder):
        return tuple(sorted(folder.glob(f"*{SUFFIX}"))) if folder.is_dir() else ()


def sweep(folder: Path) -> None:
    """Remove what processes left that died before they began anything. Raises HardwareError."""
    with _explained(folder):
        for path in folder.glob(f"*{_SCRATCH}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _DEAD_S:
                    path.unlink()


def _turns_back(line: bytes) -> bool:
    try:
        return msgspec.json.decode(line, type=_Line).back is not None
    except msgspec.DecodeError:
        return False  # the last line of a process that died while writing it


def _create(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _write(descriptor, text, durable=True)
    finally:
        os.close(descriptor)


def _write(descriptor: int, text: bytes, *, durable: bool) -> None:
    written = os.write(descriptor, text)
    if written != len(text):
        raise OSError(errno.ENOSPC, f"only {written} of {len(text)} bytes were written")
    if durable:
        os.fsync(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, msgspec.DecodeError) as error:
        raise HardwareError(f"{path}: {error}") from error
