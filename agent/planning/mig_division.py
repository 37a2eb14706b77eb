"""Whether a layout fits a GPU that is empty, as far as that can be said without placing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from msgspec.structs import replace

from agent.model.mig import GpuInstanceProfile, WantedInstance
from agent.planning.mig_room import MigTable

Division: TypeAlias = tuple[WantedInstance, ...] | None
"""The GPU instances of a GPU in MIG mode; None: MIG mode off."""


def faults(table: MigTable, wanted: Iterable[WantedInstance]) -> tuple[str, ...]:
    """Return why a layout is none for this board, each reason a sentence."""
    wanted = tuple(wanted)
    if not table.profiles:
        return ("this GPU has no MIG",)
    found = [fault for each in wanted for fault in _faults_of(table, each)]
    known = [table.profiles[each.profile] for each in wanted if each.profile in table.profiles]
    for id_, count in sorted(Counter(each.id for each in known).items()):
        profile = table.profiles[id_]
        if count > profile.most:
            found.append(f"{count} of {profile.name}, and a GPU holds at most {profile.most}")
    slices = sum(each.slices for each in known)
    if slices > table.slices:
        found.append(f"{slices} compute slices, and a GPU has {table.slices}")
    return tuple(dict.fromkeys(found))


def _faults_of(table: MigTable, wanted: WantedInstance) -> Iterable[str]:
    profile = table.profiles.get(wanted.profile)
    if profile is None:
        yield f"profile {wanted.profile} is not one of this GPU's"
        return
    starts = [place.start for place in profile.placements]
    if wanted.start is not None and wanted.start not in starts:
        allowed = ", ".join(map(str, starts))
        yield f"{profile.name} cannot start at {wanted.start}, only at {allowed}"
    if _compute_that_fits(profile, wanted.compute) != largest_first(profile, wanted.compute):
        yield f"{profile.name} cannot hold the compute instances {compute_words(profile, wanted)}"


def mended(table: MigTable, wanted: Iterable[WantedInstance]) -> tuple[WantedInstance, ...]:
    """Return the instances without what no GPU of this board could give one of them."""
    return tuple(
        replace(
            each,
            compute=_compute_that_fits(profile, each.compute),
            start=each.start if any(p.start == each.start for p in profile.placements) else None,
        )
        for each in wanted
        if (profile := table.profiles.get(each.profile)) is not None
    )


def _compute_that_fits(profile: GpuInstanceProfile, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return as much as fits, the largest first."""
    sizes = {each.id: each for each in profile.compute}
    free, kept = profile.slices, Counter[int]()
    for id_ in largest_first(profile, wanted):
        size = sizes.get(id_)
        if size is not None and size.slices <= free and kept[id_] < size.most:
            free -= size.slices
            kept[id_] += 1
    return largest_first(profile, kept.elements())


def largest_first(profile: GpuInstanceProfile | None, compute: Iterable[int]) -> tuple[int, ...]:
    """Return compute instances in the order they are named and made in."""
    sizes = {each.id: each.slices for each in profile.compute} if profile else {}
    return tuple(sorted(compute, key=lambda id_: (-sizes.get(id_, 0), id_)))


def compute_name(profile: GpuInstanceProfile, compute: int) -> str:
    """Return the name of a MIG device: ``3g.20gb``, or ``1c.3g.20gb`` for a part of it."""
    found = next((each for each in profile.compute if each.id == compute), None)
    if found is None:
        return f"compute profile {compute} in {profile.name}"
    return profile.name if found is profile.whole else f"{found.slices}c.{profile.name}"


def compute_words(profile: GpuInstanceProfile, wanted: WantedInstance) -> str:
    """Return the compute instances of a wanted one, as a list."""
    return ", ".join(compute_name(profile, each) for each in wanted.compute)


def division_words(table: MigTable, layout: Division) -> str:
    """Return a layout in words: ``3g.20gb at 4 + 1g.5gb``."""
    if layout is None:
        return "MIG mode off"
    return " + ".join(_words(table, each) for each in layout) or "no instances"


def _words(table: MigTable, wanted: WantedInstance) -> str:
    words = _kind_words(table.profiles.get(wanted.profile), wanted)
    return words if wanted.start is None else f"{words} at {wanted.start}"


def _kind_words(profile: GpuInstanceProfile | None, wanted: WantedInstance) -> str:
    if profile is None:
        return f"an instance of profile {wanted.profile}"
    if profile.whole is not None and wanted.compute == (profile.whole.id,):
        return profile.name
    return f"{profile.name} ({compute_words(profile, wanted) or 'no compute instances'})"
