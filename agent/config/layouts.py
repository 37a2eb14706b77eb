"""Declared layouts as values, whichever file they were written in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from agent.config.gpu_names import GpuSelector
from agent.config.mig import Counts, LayoutEntry, Mig, PlacedInstance
from agent.model.mig_names import ProfileName, parse_profile

OWN_PATH = "plumbline.mig.layouts"
ALL_GPUS = GpuSelector()


class Wish(StrEnum):
    """What an entry says of the GPUs that it selects."""

    OFF = "off"  # MIG mode off
    KEEP = "keep"  # left as they are
    DIVIDE = "divide"  # MIG mode on, and these instances


class Counted(Struct, frozen=True, kw_only=True):
    """So many compute instances of a profile, in as few GPU instances as hold them."""

    path: str
    profile: ProfileName
    count: int


class Placed(Struct, frozen=True, kw_only=True):
    """One GPU instance, said exactly."""

    path: str
    profile: ProfileName
    start: int | None
    compute: tuple[Counted, ...]
    """Empty: one that takes all of it."""


class Entry(Struct, frozen=True, kw_only=True):
    """What one entry of a layout wants of which GPUs."""

    where: str
    """``config.yaml:7``."""
    path: str
    gpus: GpuSelector
    wish: Wish
    counted: tuple[Counted, ...] = ()
    placed: tuple[Placed, ...] = ()


class Layout(Struct, frozen=True, kw_only=True):
    """One declared layout."""

    name: str
    where: str
    path: str
    entries: tuple[Entry, ...]


Layouts = Mapping[str, Layout]


def own_layouts(mig: Mig, where: str) -> dict[str, Layout]:
    """Return the layouts of a checked ``plumbline.mig``; ``where`` is where they stand."""
    return {
        name: Layout(
            name=name,
            where=where,
            path=f"{OWN_PATH}[{name}]",
            entries=tuple(
                _entry(entry, where, f"{OWN_PATH}[{name}][{i}]") for i, entry in enumerate(entries)
            ),
        )
        for name, entries in mig.layouts.items()
    }


def counted(counts: Counts, path: str) -> tuple[Counted, ...]:
    """Return checked counts by profile, without those of none."""
    return tuple(_counts(counts, path))


def _counts(counts: Counts, path: str) -> Iterator[Counted]:
    for text, count in counts.items():
        profile = parse_profile(text)
        if profile is not None and count:
            yield Counted(path=f"{path}[{text}]", profile=profile, count=count)


def _entry(entry: LayoutEntry, where: str, path: str) -> Entry:
    wanted, inner = entry.instances, f"{path}.instances"
    wish = Wish.KEEP if entry.keep else Wish.DIVIDE if entry.enabled else Wish.OFF
    return Entry(
        where=where,
        path=path,
        gpus=ALL_GPUS if entry.gpus == "all" else entry.gpus,
        wish=wish,
        counted=counted(wanted, inner) if isinstance(wanted, dict) else (),
        placed=tuple(_placed(wanted, inner)) if isinstance(wanted, tuple) else (),
    )


def _placed(wanted: tuple[PlacedInstance, ...], path: str) -> Iterator[Placed]:
    for i, each in enumerate(wanted):
        profile = parse_profile(each.profile)
        if profile is not None:
            yield Placed(
                path=f"{path}[{i}]",
                profile=profile.outer,
                start=each.start,
                compute=counted(each.compute or {}, f"{path}[{i}].compute"),
            )
