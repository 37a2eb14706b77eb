"""Who may divide which GPU: one process at a time, each GPU by itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.model.errors import BusyError, ConfigError

_MODE = 0o700


@contextlib.contextmanager
def locked(folder: Path, uuids: Iterable[str]) -> Iterator[None]:
    """Keep other processes from dividing these GPUs until the block ends, or this process does.

    Raises BusyError at once when another process has one of them, naming it; ConfigError when
    the folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        # In one order everywhere: two that want the same GPUs do not take half each.
        for uuid in sorted(set(uuids)):
            held.enter_context(_locked(folder, uuid))
        yield


@contextlib.contextmanager
def _locked(folder: Path, uuid: str) -> Iterator[None]:
    descriptor = _opened(folder, folder / f"{uuid}.lock")
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise BusyError(
                f"{uuid} is being divided by {who or 'another process'}; wait until it has ended"
            ) from error
        os.truncate(descriptor, 0)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.pwrite(descriptor, f"process {os.getpid()} since {since}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def locked_by_others(folder: Path) -> tuple[str, ...]:
    """Return the GPUs that are being divided now, by UUID. Raises ConfigError."""
    paths = sorted(folder.glob("*.lock"))
    return tuple(path.stem for path in paths if not _is_free(folder, path))


def _is_free(folder: Path, path: Path) -> bool:
    descriptor = _opened(folder, path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _opened(folder: Path, path: Path) -> int:
    try:
        folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; dividing GPUs needs root and a writable"
            f" {folder}, where it is written down until it is done"
        ) from error
