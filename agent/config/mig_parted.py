"""Reads layouts in mig-parted's file format, whose keys and words stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from agent.config.gpu_names import DeviceFilter, DeviceIndex, GpuSelector
from agent.config.layouts import Entry, Layout, Wish, counted, own_layouts
from agent.config.mig import Counts, LayoutName, Mig, count_faults
from agent.config.problems import Problem, refuse
from agent.config.section import OneOrMany
from agent.config.sources import read_text

if TYPE_CHECKING:
    from agent.config.document import Reading

KEY = "mig-configs"


class _Entry(Struct, frozen=True, kw_only=True, rename="kebab"):
    device_filter: OneOrMany[DeviceFilter] | None = None
    devices: Literal["all"] | tuple[DeviceIndex, ...]
    mig_enabled: bool
    mig_devices: Counts | None = None


class _File(Struct, frozen=True, kw_only=True, rename="kebab"):
    version: Literal["v1"]
    mig_configs: dict[LayoutName, tuple[_Entry, ...]]


def declared_layouts(mig: Mig, where: str) -> dict[str, Layout]:
    """Return the layouts of ``plumbline.mig`` (``where`` it stands) and of the file it names.

    Raises ConfigError that names every problem.
    """
    own = own_layouts(mig, where)
    if mig.file is None:
        return own
    theirs = read_layouts(Path(mig.file))
    refuse(
        Problem(
            where=own[name].where,
            path=own[name].path,
            message=f"{name!r} is the name of {theirs[name].path} in {theirs[name].where} too; "
            "rename one of the two",
        )
        for name in own
        if name in theirs
    )
    return {**theirs, **own}


def read_layouts(path: Path) -> dict[str, Layout]:
    """Return the layouts in a file. Raises ConfigError that names every problem."""
    text = read_text(
        path,
        kind="file of MIG layouts",
        advice="correct plumbline.mig.file (PLUMBLINE_MIG_FILE) or the file's mount",
    )
    return parse_layouts(text, str(path))


def parse_layouts(text: str, name: str) -> dict[str, Layout]:
    """Return the layouts in the text of a file that messages call ``name``.

    Raises ConfigError that names every problem.
    """
    # YAML is imported for this call alone: most nodes have no such file.
    from agent.config.document import read_struct  # noqa: PLC0415

    file, reading = read_struct(text, name, kind=_File)
    if file is None:
        refuse(reading.problems)
    configs = {} if file is None else file.mig_configs
    refuse(_problems(configs, reading))
    return {label: _layout(label, entries, reading) for label, entries in configs.items()}


def _layout(label: str, entries: tuple[_Entry, ...], reading: Reading) -> Layout:
    path = f"{KEY}[{label}]"
    return Layout(
        name=label,
        where=reading.places[path],
        path=path,
        entries=tuple(_entry(each, f"{path}[{i}]", reading) for i, each in enumerate(entries)),
    )


def _entry(entry: _Entry, path: str, reading: Reading) -> Entry:
    return Entry(
        where=reading.places[path],
        path=path,
        gpus=GpuSelector(
            index=None if entry.devices == "all" else entry.devices,
            device_filter=entry.device_filter,
        ),
        wish=Wish.DIVIDE if entry.mig_enabled else Wish.OFF,
        counted=counted(entry.mig_devices or {}, f"{path}.mig-devices"),
    )


def _problems(configs: dict[str, tuple[_Entry, ...]], reading: Reading) -> Iterator[Problem]:
    for label, entries in configs.items():
        path = f"{KEY}[{label}]"
        if not entries:
            yield Problem(
                where=reading.places[path],
                path=path,
                message="has no entry; write devices and mig-enabled",
            )
        for i, entry in enumerate(entries):
            inner = f"{path}[{i}]"
            for part, message in _faults(entry):
                at = f"{inner}.mig-devices{part}"
                where = reading.places.get(at, reading.places[inner])
                yield Problem(where=where, path=at, message=message)


def _faults(entry: _Entry) -> Iterator[tuple[str, str]]:
    """Yield where, below mig-devices, something is wrong, and what."""
    if entry.mig_devices is None:
        if entry.mig_enabled:
            yield "", "is missing; write the profiles, or {} for none"
    elif entry.mig_devices and not entry.mig_enabled:
        yield "", "cannot be combined with mig-enabled: false; leave it out, or enable MIG"
    else:
        yield from count_faults(entry.mig_devices)
