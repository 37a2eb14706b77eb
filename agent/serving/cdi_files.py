"""CDI specification files: written whole or not at all, and removed when they are stale.

Blocking: call it from a worker thread.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.model.errors import ConfigError, HardwareError
from agent.planning import cdi

_PATTERN = f"{cdi.VENDOR}-*.json"
_SCRATCH_PATTERN = f".{cdi.VENDOR}-*.tmp"  # runtimes read *.json and *.yaml only
_MODE = 0o644  # a runtime may run as another user

_OPERATOR_CAN_MEND = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one publication did, as file names."""

    written: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    """Files under our name that are not ours by their content; left alone."""


def publish(spec_dir: Path, specs: Mapping[cdi.CdiClass, dict[str, object]]) -> Published:
    """Make the folder hold these specifications and no other of ours.

    Raises ConfigError when the folder cannot be written or a file is in the way that is not
    ours, HardwareError when the machine fails. A file is either the old or the new one,
    whenever the process dies.
    """
    try:
        spec_dir.mkdir(parents=True, exist_ok=True)
        _sweep_scratch(spec_dir)
        return _publish(spec_dir, {cdi.file_name(c): cdi.encode(d) for c, d in specs.items()})
    except OSError as error:
        raise _explained(spec_dir, error) from error


def withdraw(spec_dir: Path) -> Published:
    """Remove every specification of ours. Raises as ``publish`` does."""
    return publish(spec_dir, {}) if spec_dir.is_dir() else Published()


def _publish(spec_dir: Path, contents: Mapping[str, bytes]) -> Published:
    unchanged = [name for name, content in contents.items() if _read(spec_dir / name) == content]
    written = [name for name in contents if name not in unchanged]
    for name in written:
        _refuse_foreign(spec_dir / name)
    for name in written:
        _write(spec_dir / name, contents[name])
    stale = sorted(path.name for path in spec_dir.glob(_PATTERN) if path.name not in contents)
    removed = [name for name in stale if _is_ours(spec_dir / name)]
    for name in removed:
        (spec_dir / name).unlink(missing_ok=True)
    if written or removed:
        _sync_folder(spec_dir)
    return Published(
        written=tuple(written),
        unchanged=tuple(unchanged),
        removed=tuple(removed),
        foreign=tuple(name for name in stale if name not in removed),
    )


def _write(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # tells a sweep elsewhere that the writer lives
            os.fchmod(file.fileno(), _MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _sweep_scratch(spec_dir: Path) -> None:
    """Remove what writers left that were killed; a living one holds a lock on its file."""
    for scratch in spec_dir.glob(_SCRATCH_PATTERN):
        with suppress(FileNotFoundError, BlockingIOError), scratch.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scratch.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _kind(path: Path) -> object:
    """Return the kind a file says it is of; None when it does not say."""
    try:
        document = json.loads(_read(path) or b"")
    except ValueError:
        return None
    return document.get("kind") if isinstance(document, dict) else None


def _is_ours(path: Path) -> bool:
    cdi_class = path.stem.removeprefix(f"{cdi.VENDOR}-")
    return _kind(path) == f"{cdi.VENDOR}/{cdi_class}"


def _refuse_foreign(path: Path) -> None:
    kind = _kind(path)
    if kind is not None and not _is_ours(path):
        raise ConfigError(
            f"{path} describes {kind!r} and was not written by this agent; move it away, or "
            "choose another folder with --cdi-spec-dir"
        )


def _explained(spec_dir: Path, error: OSError) -> ConfigError | HardwareError:
    subject = error.filename or spec_dir
    reason = f"cannot write CDI specifications to {spec_dir}: {subject}: {error.strerror}"
    if error.errno in _OPERATOR_CAN_MEND:
        return ConfigError(
            f"{reason}; mount the folder writable into the agent's pod, name another with "
            "--cdi-spec-dir, or use a device list strategy without CDI"
        )
    return HardwareError(f"{reason}; free space or check the file system of the node")
