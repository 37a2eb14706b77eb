"""CDI specification files: written whole or not at all, and only over what is ours.

A file is ours when its name and its kind are of a class we write, whoever wrote it: NVIDIA's
device plugin uses the same names. Files of its other classes are never looked at.

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
from pathlib import Path

from msgspec import Struct

from agent.model.errors import ConfigError, HardwareError
from agent.partition.written import sync_folder
from agent.planning import cdi

_SCRATCH_PATTERN = f".{cdi.VENDOR}-*.tmp"  # runtimes read *.json and *.yaml only
_MODE = 0o644  # a runtime may run as another user

_OPERATOR_CAN_MEND = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP}
)


class Published(Struct, frozen=True, kw_only=True):
    """What one publication did, as file names."""

    written: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


def publish(spec_dir: Path, specs: Mapping[cdi.CdiClass, dict[str, object]]) -> Published:
    """Make the folder hold these specifications; other files stay as they are.

    Raises ConfigError when the folder cannot be written or a file is in the way that is not
    ours, HardwareError when the machine fails. A file is either the old or the new one,
    whenever the process dies.
    """
    try:
        spec_dir.mkdir(parents=True, exist_ok=True)
        _sweep_scratch(spec_dir)
        return _publish(spec_dir, {c: cdi.encode(document) for c, document in specs.items()})
    except OSError as error:
        raise _explained(spec_dir, error) from error


def refresh(spec_dir: Path, specs: Mapping[cdi.CdiClass, dict[str, object]]) -> Published:
    """Bring those of these specifications up to date that the folder has already.

    Raises as ``publish`` does; a folder without any is not touched.
    """
    try:
        there = {c: document for c, document in specs.items() if _is_written_by_us(spec_dir, c)}
    except OSError as error:
        raise _explained(spec_dir, error) from error
    return publish(spec_dir, there) if there else Published()


def remove(spec_dir: Path, cdi_class: cdi.CdiClass) -> None:
    """Remove our specification of a class. Raises as ``publish`` does."""
    try:
        if _is_written_by_us(spec_dir, cdi_class):
            (spec_dir / cdi.file_name(cdi_class)).unlink(missing_ok=True)
            sync_folder(spec_dir)
    except OSError as error:
        raise _explained(spec_dir, error) from error


def device_names(spec_dir: Path, cdi_class: cdi.CdiClass) -> tuple[str, ...]:
    """Return the devices our specification of a class names; none when there is no such file.

    Raises as ``publish`` does.
    """
    try:
        document = _document(spec_dir / cdi.file_name(cdi_class))
    except OSError as error:
        raise _explained(spec_dir, error) from error
    devices = document.get("devices")
    if document.get("kind") != cdi.kind(cdi_class) or not isinstance(devices, list):
        return ()
    return tuple(str(each["name"]) for each in devices if isinstance(each, dict) and "name" in each)


def write_passing_file(path: Path, content: bytes) -> None:
    """Write one specification, whole or not at all, that is written again after a reboot.

    Not forced to the disk. Raises as ``publish`` does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content, durable=False)
    except OSError as error:
        raise _explained(path.parent, error) from error


def _publish(spec_dir: Path, contents: Mapping[cdi.CdiClass, bytes]) -> Published:
    paths = {cdi_class: spec_dir / cdi.file_name(cdi_class) for cdi_class in contents}
    changed = [c for c, content in contents.items() if _read(paths[c]) != content]
    for cdi_class in changed:
        _refuse_foreign(spec_dir, cdi_class)
    for cdi_class in changed:
        _write(paths[cdi_class], contents[cdi_class])
    if changed:
        sync_folder(spec_dir)
    return Published(
        written=tuple(paths[c].name for c in changed),
        unchanged=tuple(path.name for c, path in paths.items() if c not in changed),
    )


def _write(path: Path, content: bytes, *, durable: bool = True) -> None:
    scratch = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # tells a sweep elsewhere that the writer lives
            os.fchmod(file.fileno(), _MODE)
            file.write(content)
            file.flush()
            if durable:
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


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _document(path: Path) -> dict[str, object]:
    """Return what a file says; empty when there is none, or when it is no CDI specification."""
    try:
        document = json.loads(_read(path) or b"")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_ours(spec_dir: Path, cdi_class: cdi.CdiClass) -> bool:
    return _document(spec_dir / cdi.file_name(cdi_class)).get("kind") == cdi.kind(cdi_class)


def _is_written_by_us(spec_dir: Path, cdi_class: cdi.CdiClass) -> bool:
    """Return True for a file that this agent wrote.

    NVIDIA's device plugin writes the same names and kinds, but also mounts and hooks for the
    driver's libraries, which we do not yet: containers that run need them at their next start.
    """
    edits = _document(spec_dir / cdi.file_name(cdi_class)).get("containerEdits")
    brings_files = isinstance(edits, dict) and not edits.keys().isdisjoint({"mounts", "hooks"})
    return _is_ours(spec_dir, cdi_class) and not brings_files


def _refuse_foreign(spec_dir: Path, cdi_class: cdi.CdiClass) -> None:
    path = spec_dir / cdi.file_name(cdi_class)
    kind = _document(path).get("kind")
    if kind is not None and kind != cdi.kind(cdi_class):
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
