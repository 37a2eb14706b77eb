"""Which compute instances of a GPU instance go, which come, and where they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from msgspec import Struct

from agent.model.mig import ComputeInstance, GpuInstance, GpuInstanceProfile, compute_starts


class NewCompute(Struct, frozen=True, kw_only=True):
    """A compute instance that is to be made."""

    profile: int
    """ComputeProfile.id."""
    start: int | None
    """First compute slice; None: wherever the driver puts it."""


class ComputeChange(Struct, frozen=True, kw_only=True):
    """From the compute instances of a GPU instance to those that are wanted."""

    gone: tuple[ComputeInstance, ...]
    """By id."""
    new: tuple[NewCompute, ...]
    """The largest first."""


def new_compute(
    profile: GpuInstanceProfile | None, wanted: Sequence[int]
) -> tuple[NewCompute, ...]:
    """Return what is to be made in a GPU instance that is empty."""
    return _placed(profile, (), wanted) or tuple(
        NewCompute(profile=each, start=None) for each in wanted
    )


def change_compute(
    profile: GpuInstanceProfile | None,
    instance: GpuInstance,
    wanted: Sequence[int],
    is_held: Callable[[ComputeInstance], bool],
) -> ComputeChange:
    """Return the smallest change that leaves what is held where it is, if that can be.

    What stays may lie so that what is missing finds no place: then it goes too.
    """
    change = _first_that_fits(profile, instance, wanted, is_held)
    if change is not None:
        return change
    return ComputeChange(gone=instance.compute, new=new_compute(profile, wanted))


def _first_that_fits(
    profile: GpuInstanceProfile | None,
    instance: GpuInstance,
    wanted: Sequence[int],
    is_held: Callable[[ComputeInstance], bool],
) -> ComputeChange | None:
    for kept in _choices(instance, wanted, is_held):
        missing = Counter(wanted) - Counter(each.profile for each in kept)
        new = _placed(profile, kept, tuple(missing.elements()))
        if new is not None:
            gone = tuple(each for each in instance.compute if each not in kept)
            return ComputeChange(gone=gone, new=new)
    return None


def _choices(
    instance: GpuInstance, wanted: Sequence[int], is_held: Callable[[ComputeInstance], bool]
) -> Iterator[tuple[ComputeInstance, ...]]:
    """Yield what may stay: as much of what is held as can be, then as many as can be."""
    by_use = sorted(instance.compute, key=lambda each: (not is_held(each), each.id))
    missing, greedy = Counter(wanted), []
    for each in by_use:
        if missing[each.profile]:
            missing[each.profile] -= 1
            greedy.append(each)
    yield tuple(greedy)
    if not missing.total() or all(each.start is None for each in greedy):
        return
    held = sum(map(is_held, greedy))
    most = Counter(wanted)
    rest = [
        kept
        for count in range(len(greedy), 0, -1)
        for kept in combinations(by_use, count)
        if not Counter(each.profile for each in kept) - most
    ]
    yield from sorted(rest, key=lambda kept: (-min(sum(map(is_held, kept)), held), -len(kept)))


def _placed(
    profile: GpuInstanceProfile | None, kept: Sequence[ComputeInstance], missing: Sequence[int]
) -> tuple[NewCompute, ...] | None:
    """Return where what is missing lies beside what stays; None where it finds no place.

    Where all are alike, or the driver does not tell where they lie, it is left to the driver.
    """
    sizes = {} if profile is None else {each.id: each.slices for each in profile.compute}
    ordered = sorted(missing, key=lambda each: (-sizes.get(each, 0), each))
    alike = len({*missing, *(each.profile for each in kept)}) == 1
    known = {*missing, *(each.profile for each in kept)} <= sizes.keys()
    if profile is None or alike or not known or any(each.start is None for each in kept):
        return tuple(NewCompute(profile=each, start=None) for each in ordered)
    taken = 0
    for each in kept:
        taken |= _slices(each.start or 0, sizes[each.profile])
    starts = _search([sizes[each] for each in ordered], profile.slices, taken)
    if starts is None:
        return None
    return tuple(
        NewCompute(profile=each, start=start) for each, start in zip(ordered, starts, strict=True)
    )


def _search(sizes: Sequence[int], total: int, taken: int) -> tuple[int, ...] | None:
    if not sizes:
        return ()
    for start in compute_starts(sizes[0], total):
        slices = _slices(start, sizes[0])
        if not slices & taken:
            rest = _search(sizes[1:], total, taken | slices)
            if rest is not None:
                return (start, *rest)
    return None


def _slices(start: int, size: int) -> int:
    return ((1 << size) - 1) << start
