"""Makes a simulated machine in a folder: all of it or nothing."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import yaml

from agent import _native
from agent.model.errors import ConfigError, HardwareError
from agent.model.machine import NVML_SONAME
from agent.simulation import (
    description,
    expand,
    locality,
    render_dev,
    render_numa,
    render_pci,
    render_proc,
    render_tools,
)
from agent.simulation import entries as rendering
from agent.simulation.driver import Driver
from agent.simulation.entries import Entry, File
from agent.simulation.profile import Profile
from agent.simulation.spec import MachineSpec

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_MARKS = ("profile.yaml", f"lib/{NVML_SONAME}", "sys")
"""What every simulated machine has, finished or broken."""


def build(
    profile: Profile, target: Path, *, force: bool = False, notes: Sequence[str] = ()
) -> MachineSpec:
    """Make the machine ``profile`` describes in the folder ``target``; return it.

    ``notes`` go into its profile.yaml as comments. The folder appears complete or not at all.
    Raises ConfigError for a profile that cannot be, or for a target that is in use: ``force``
    replaces one that is a simulated machine. Raises HardwareError where the folder cannot be
    written or the simulated driver refuses the machine.
    """
    spec = expand.expand(profile)
    try:
        _check_target(target, force=force)
        with _scratch_folder(target) as folder:
            rendering.write(folder, _entries(spec, profile, notes))
            _make_driver(folder, description.render(spec))
            _move(folder, target, force=force)
    except OSError as error:
        where = error.filename or target
        raise HardwareError(
            f"cannot make a machine in {target}: {where}: {error.strerror}"
        ) from error
    return spec


def render(spec: MachineSpec) -> Iterator[Entry]:
    """Yield the files of a machine: everything but the driver and its state."""
    yield from render_pci.render(spec)
    yield from render_numa.render(spec)
    yield from render_proc.render(spec)
    yield from render_dev.render(spec)
    yield from render_tools.render()
    if spec.overrides:
        yield File("etc/plumbline/locality.yaml", locality.render(spec.overrides))


def driver_library() -> Path:
    """Return the simulated driver that ships with Plumbline; raise HardwareError without one."""
    library = Path(_native.__file__).parent / "_mocknvml" / NVML_SONAME
    if not library.is_file():
        raise HardwareError(
            f"{library} is missing: this installation of Plumbline has no simulated driver; "
            "install it again"
        )
    return library


def _entries(spec: MachineSpec, profile: Profile, notes: Sequence[str]) -> Iterator[Entry]:
    comments = "".join(f"# {note}\n" for note in notes)
    plain = yaml.dump(
        msgspec.to_builtins(profile),
        Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
        default_flow_style=None,
        sort_keys=False,
        width=100,
    )
    made_from = File("profile.yaml", (comments + plain).encode())
    return itertools.chain(render(spec), (made_from,))


def _make_driver(folder: Path, text: str) -> None:
    """Put the driver into the folder and have it make its state.

    Somebody in this process may hold the copy that made the state, under the scratch folder's
    name, and the loader knows a library by its inode: a fresh copy is one it has not met.
    """
    source = driver_library()
    library = folder / "lib" / NVML_SONAME
    library.parent.mkdir()
    shutil.copyfile(source, library)
    with Driver(folder) as driver:
        driver.create(text)
    fresh = library.with_name(".fresh")
    shutil.copyfile(source, fresh)
    fresh.chmod(0o755)
    fresh.replace(library)


def _check_target(target: Path, *, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise ConfigError(f"{target} exists and is no folder: name one that does not exist")
    if not any(target.iterdir()):
        return
    is_machine = all((target / mark).exists() for mark in _MARKS)
    if not is_machine:
        raise ConfigError(
            f"{target} exists and is no simulated machine: name a folder that does not exist "
            "or is empty"
        )
    if not force:
        raise ConfigError(
            f"{target} is a simulated machine already: --force replaces it, with its state"
        )


@contextlib.contextmanager
def _scratch_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside the target, which is gone afterwards unless it was moved."""
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{target.name}."))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path, *, force: bool) -> None:
    """Put a finished folder in the target's place; with ``force``, also where a machine is.

    The old machine is then in ``folder``, which the caller removes.
    """
    target = target.absolute()
    try:
        folder.rename(target)  # over nothing, or over an empty folder
    except OSError as error:
        if not force or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _exchange(folder, target)


def _exchange(a: Path, b: Path) -> None:
    """Let two paths trade places, at once where the file system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = (_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b))
    if not libc.renameat2(*paths, _RENAME_EXCHANGE):
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), str(b))
    with _scratch_folder(b) as aside:
        b.rename(aside / "old")
        try:
            a.rename(b)
        except OSError:
            (aside / "old").rename(b)
            raise
