"""Small files that say what has to be put back: whole or not there, and on the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from agent.model.errors import HardwareError

_SCRATCH = ".tmp"


def write_down(path: Path, content: bytes) -> None:
    """Make a file hold these bytes, on the disk. Raises HardwareError."""
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() == content:
            return
        scratch = path.with_name(path.name + _SCRATCH)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        scratch.replace(path)
        sync_folder(path.parent)


def write_passing(path: Path, content: bytes) -> None:
    """Make a file hold these bytes, whole, until the node is started anew. Raises HardwareError."""
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = path.with_name(path.name + _SCRATCH)
        scratch.write_bytes(content)
        scratch.replace(path)


def forget(path: Path) -> None:
    """Remove a file. Raises HardwareError."""
    with _explained(path):
        path.unlink(missing_ok=True)


def read_file(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none. Raises HardwareError."""
    with _explained(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files in a folder, by name. Raises HardwareError."""
    with _explained(folder):
        if not folder.is_dir():
            return {}
        paths = sorted(path for path in folder.iterdir() if not path.name.endswith(_SCRATCH))
        return {path.name: path.read_bytes() for path in paths}


def read_words(folder: Path) -> dict[str, str]:
    """Return what the files in a folder say, by name. Raises HardwareError."""
    return {name: content.decode(errors="replace") for name, content in read_files(folder).items()}


def sync_folder(folder: Path) -> None:
    """See that what was made, renamed or removed in a folder is on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HardwareError(f"{error.filename or path}: {error.strerror or error}") from error
