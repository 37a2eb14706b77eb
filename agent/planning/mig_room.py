"""What a divided GPU still has room for.

A GPU instance needs memory slices that nothing else takes (``placements``, as the driver lists
them), compute slices out of as many as the whole GPU has, and fewer of its kind than ``most``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from msgspec import Struct

from agent.model.mig import GpuInstance, GpuInstanceProfile, MigPlacement

_DIGIT = 10
"""Bits for one count in a score: sums over the GPUs of a node still compare place by place."""


class Room(Struct, frozen=True, kw_only=True):
    """What could be created beside the given instances."""

    more: Mapping[int, int]
    """How many of each profile, were it the only one asked for, by GpuInstanceProfile.id."""
    score: int
    """These counts, those of the largest profile first, as one number. It compares GPUs of one
    board, and sums over several of them."""


def room(profiles: tuple[GpuInstanceProfile, ...], instances: Iterable[GpuInstance]) -> Room:
    """Return what is possible beside instances on a GPU in MIG mode."""
    table = table_of(profiles)
    taken, counts = 0, dict.fromkeys(table.profiles, 0)
    for each in instances:
        taken |= slices_of(each.placement)
        counts[each.profile] = counts.get(each.profile, 0) + 1
    return table.room(taken, counts)


def slices_of(placement: MigPlacement) -> int:
    """Return the memory slices of a placement as a set of bits."""
    return ((1 << placement.size) - 1) << placement.start


class MigTable(Struct, frozen=True, kw_only=True, eq=False):
    """A board's profiles, prepared for looking up."""

    profiles: Mapping[int, GpuInstanceProfile]
    """By id, the largest first."""
    slices: int
    """Compute slices of the whole GPU: those of its largest profile."""
    axis: int
    """Memory slices of the whole GPU."""
    legal: Mapping[int, tuple[tuple[int, MigPlacement], ...]]
    """Slices and placement of each profile's legal places, by start."""

    def room(self, taken: int, counts: Mapping[int, int]) -> Room:
        """Return the room beside slices that are taken by so many instances of each profile."""
        free = self.slices - sum(
            n * self.profiles[id_].slices for id_, n in counts.items() if n and id_ in self.profiles
        )
        more, score = {}, 0
        for id_, profile in self.profiles.items():
            left = min(profile.most - counts.get(id_, 0), free // max(1, profile.slices))
            more[id_] = self._fitting(id_, taken, left)
            score = score << _DIGIT | more[id_]
        return Room(more=more, score=score)

    def _fitting(self, id_: int, taken: int, most: int) -> int:
        """Count what fits from the left: as many as any way would, for all are of one size."""
        count = 0
        for slices, _ in self.legal[id_]:
            if count >= most:
                break
            if not slices & taken:
                taken |= slices
                count += 1
        return count


@lru_cache(maxsize=16)  # boards of one node
def table_of(profiles: tuple[GpuInstanceProfile, ...]) -> MigTable:
    """Return the table of a board."""
    ordered = sorted(profiles, key=_size, reverse=True)
    ends = [place.start + place.size for each in profiles for place in each.placements]
    return MigTable(
        profiles={each.id: each for each in ordered},
        slices=max((each.slices for each in profiles), default=0),
        axis=max(ends, default=0),
        legal={
            each.id: tuple((slices_of(place), place) for place in sorted(each.placements))
            for each in profiles
        },
    )


def _size(profile: GpuInstanceProfile) -> tuple[int, ...]:
    widest = max((place.size for place in profile.placements), default=0)
    return widest, profile.slices, profile.memory_mib, profile.most, -profile.id
