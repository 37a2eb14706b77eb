"""Where the instances of a layout go on one GPU: exact, by dynamic programming.

Wanted instances are placed one after another. Two ways that took the same memory slices with the
same profiles are alike for all that follows, so the cheaper is kept: an A100 has 723 such states.
An instance that exists stays where a wanted one takes exactly its place; every other one goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from msgspec import Struct

from agent.model.mig import (
    ComputeInstance,
    GpuInstance,
    GpuInstanceProfile,
    MigPlacement,
    WantedInstance,
)
from agent.planning.mig_compute import ComputeChange, change_compute
from agent.planning.mig_room import MigTable, slices_of

Holders = Mapping[tuple[int, int], tuple[str, ...]]
"""Who holds a compute instance, by the id of its GPU instance and its own."""

_TOUCH = 1 << 16
"""Cost of a held instance that must go: more than all steps together."""
_SKIPPED = -1
"""Start of an instance that a part of a layout goes without."""
_COMPUTE = 32
"""Where the compute slices stand in a state: above the memory slices, below the counts."""
_MEMORY = (1 << _COMPUTE) - 1
_TALLY = 8
"""Bits for one count of a state."""
_COUNT = (1 << _TALLY) - 1

_States: TypeAlias = dict[int, tuple[int, tuple[int, ...]]]
"""What a state costs, and the starts that lead to it."""


class Arrangement(Struct, frozen=True, kw_only=True):
    """The best way to place a layout, or the largest part of it."""

    places: tuple[tuple[WantedInstance, MigPlacement], ...]
    """By start."""
    slices: int
    """Compute slices of what is placed."""


class Occupancy(Struct, frozen=True, kw_only=True):
    """What a GPU is divided into, and who holds what of it."""

    instances: tuple[GpuInstance, ...] = ()
    holders: Holders

    @property
    def held(self) -> tuple[GpuInstance, ...]:
        """Return the instances of which a part is held."""
        return tuple(each for each in self.instances if self.touches(each, each.compute))

    def touches(self, instance: GpuInstance, compute: Iterable[ComputeInstance]) -> int:
        """Count those that are held."""
        return sum(bool(self.holders.get((instance.id, each.id))) for each in compute)

    def change(
        self, instance: GpuInstance, wanted: tuple[int, ...], profile: GpuInstanceProfile | None
    ) -> ComputeChange:
        """Return which compute instances go and which come; those held go last."""
        return change_compute(
            profile,
            instance,
            wanted,
            lambda each: bool(self.holders.get((instance.id, each.id))),
        )


def arrange(
    table: MigTable, occupancy: Occupancy, wanted: Iterable[WantedInstance]
) -> Arrangement | None:
    """Return the way that touches the fewest held instances, then takes the fewest steps, then
    leaves the most room; None where no GPU of this board has place for all.
    """
    return _Search(table, occupancy, wanted).best()


def arrange_part(
    table: MigTable, occupancy: Occupancy, wanted: Iterable[WantedInstance]
) -> Arrangement:
    """Return the way to place the largest part beside all that is held, which stays as it is."""
    best = _Search(table, occupancy, wanted, part=True).best()
    return best or Arrangement(places=(), slices=0)


class _Search:
    """One search. A state is one integer: the slices taken, the compute slices taken, and how
    many there are of each profile.
    """

    def __init__(
        self,
        table: MigTable,
        occupancy: Occupancy,
        wanted: Iterable[WantedInstance],
        *,
        part: bool = False,
    ) -> None:
        self.table = table
        self.occupancy = occupancy
        self.part = part
        self.shifts = {id_: _COMPUTE + _TALLY * i for i, id_ in enumerate(table.profiles, 1)}
        self.there = {(each.profile, each.placement): each for each in occupancy.instances}
        self.fixed = occupancy.held if part else ()
        self.fixed_slices = sum(slices_of(each.placement) for each in self.fixed)
        self.options: dict[WantedInstance, tuple[tuple[int, int, int], ...]] = {}
        self.wanted = sorted(wanted, key=self._order)

    def _order(self, wanted: WantedInstance) -> tuple[int, ...]:
        """Order by fewest places; alike instances stand together."""
        legal = len(self.table.legal[wanted.profile]) if wanted.start is None else 1
        start = _SKIPPED if wanted.start is None else wanted.start
        return legal, wanted.profile, start, *sorted(wanted.compute)

    def best(self) -> Arrangement | None:
        cleared = sum(map(self._clearing, self.occupancy.instances))
        states: _States = {0: (cleared, ())}
        before = None
        for each in self.wanted:
            states = self._place(states, each, again=each == before)
            before = each
        ranked = self._cheapest(states)
        if not ranked:
            return None
        state, starts = min(
            ranked, key=lambda end: (-self._room(end[0]) if len(ranked) > 1 else 0, end[1])
        )
        return self._arrangement(state, starts)

    def _place(self, states: _States, wanted: WantedInstance, *, again: bool) -> _States:
        profile = self.table.profiles[wanted.profile]
        shift = self.shifts[wanted.profile]
        unit = (1 << shift) + (profile.slices << _COMPUTE)
        if wanted not in self.options:
            self.options[wanted] = tuple(self._options(wanted))
        # Of equal ways the first stays: instances and places come in one order, whoever asks.
        options = [(slices, slices + unit, *rest) for slices, *rest in self.options[wanted]]
        found: _States = {}
        if self.part:
            found = {state: (cost, (*starts, _SKIPPED)) for state, (cost, starts) in states.items()}
            full = self.table.slices - profile.slices
            # Who went without one of its like has no use for the next: it took the other way then.
            states = {
                state: way
                for state, way in states.items()
                if state >> shift & _COUNT < profile.most
                and state >> _COMPUTE & _COUNT <= full
                and not (again and way[1][-1] == _SKIPPED)
            }
        for state, (cost, starts) in states.items():
            for slices, growth, start, change in options:
                if state & slices:
                    continue
                after, total = state + growth, cost + change
                known = found.get(after)
                if known is None or total < known[0]:
                    found[after] = total, (*starts, start)
        return found

    def _options(self, wanted: WantedInstance) -> Iterator[tuple[int, int, int]]:
        """Yield slices, start, and what the cost grows by beside that of clearing the GPU."""
        for slices, place in self.table.legal[wanted.profile]:
            if wanted.start not in (None, place.start):
                continue
            there = self.there.get((wanted.profile, place))
            if there is None:
                change, stays = 1 + len(wanted.compute), False
            else:
                profile = self.table.profiles[wanted.profile]
                found = self.occupancy.change(there, wanted.compute, profile)
                touched = self.occupancy.touches(there, found.gone)
                change = len(found.gone) + len(found.new) + _TOUCH * touched - self._clearing(there)
                stays = not touched
            if stays or not slices & self.fixed_slices:
                yield slices, place.start, change

    def _clearing(self, instance: GpuInstance) -> int:
        """Return what it costs that an instance is not matched: it goes, or else is left over."""
        if instance in self.fixed:
            return _TOUCH
        touched = self.occupancy.touches(instance, instance.compute)
        return 1 + len(instance.compute) + _TOUCH * touched

    def _stands(self, state: int) -> bool:
        """Return True when what is held and not matched fits beside what is placed."""
        if not self.fixed:
            return True
        rest = [each for each in self.fixed if not slices_of(each.placement) & state]
        counts = self._counts(state)
        counts.update(each.profile for each in rest if each.profile in counts)
        of = self.table.profiles
        return all(n <= of[id_].most for id_, n in counts.items()) and (
            sum(n * of[id_].slices for id_, n in counts.items()) <= self.table.slices
        )

    def _cheapest(self, states: _States) -> list[tuple[int, tuple[int, ...]]]:
        """Return the ends that hold most and cost least."""
        best: list[tuple[int, tuple[int, ...]]] = []
        least = None
        for key, state, starts in sorted(
            (
                (-(state >> _COMPUTE & _COUNT), starts.count(_SKIPPED), cost),
                state,
                starts,
            )
            for state, (cost, starts) in states.items()
        ):
            if best and key != least:
                break
            if self._stands(state):
                best.append((state, starts))
                least = key
        return best

    def _counts(self, state: int) -> Counter[int]:
        return Counter({id_: state >> at & _COUNT for id_, at in self.shifts.items()})

    def _room(self, state: int) -> int:
        return self.table.room(state & _MEMORY | self.fixed_slices, self._counts(state)).score

    def _arrangement(self, state: int, starts: tuple[int, ...]) -> Arrangement:
        places = [
            (each, next(p for _, p in self.table.legal[each.profile] if p.start == start))
            for each, start in zip(self.wanted, starts, strict=True)
            if start != _SKIPPED
        ]
        return Arrangement(
            places=tuple(sorted(places, key=lambda pair: pair[1])),
            slices=state >> _COMPUTE & _COUNT,
        )
