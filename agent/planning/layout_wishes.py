"""What one entry of a layout means on GPUs of one kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.config.layouts import Counted, Entry, Placed
from agent.config.problems import Problem
from agent.model.mig import ComputeProfile, GpuInstanceProfile, WantedInstance
from agent.planning.layout_model import Divided, GpuKind
from agent.planning.mig_match import NoSuchProfileError, match_compute, match_profile
from agent.planning.mig_packing import fits, holds, most_that_fit, pack


def divide(entry: Entry, kind: GpuKind) -> Divided | tuple[Problem, ...]:
    """Return the instances that an entry wants on each GPU, or why it cannot have them."""
    problems: list[Problem] = []
    instances = [
        *_placed(entry, kind, problems),
        *_counted(entry, kind, problems),
    ]
    if not problems:
        problems += _too_many(entry, kind, instances)
    return tuple(problems) if problems else Divided(instances=in_order(instances, kind))


def in_order(instances: Sequence[WantedInstance], kind: GpuKind) -> tuple[WantedInstance, ...]:
    """Return instances in the one order they are compared in: the largest first."""
    profiles = kind.profiles

    def key(wanted: WantedInstance) -> tuple[int, int, int, int, int, tuple[int, ...]]:
        profile = profiles[wanted.profile]
        sizes = {each.id: each.slices for each in profile.compute}
        used = sum(sizes[each] for each in wanted.compute)
        start = -1 if wanted.start is None else wanted.start
        return -profile.slices, -profile.memory_mib, profile.id, start, -used, wanted.compute

    return tuple(sorted(instances, key=key))


def describe(instances: Sequence[WantedInstance], kind: GpuKind) -> str:
    """Return instances as a message lists them: ``3g.40gb at 4, 2 x 1g.10gb``."""
    profiles = kind.profiles
    counts: dict[str, int] = {}
    for each in instances:
        profile = profiles[each.profile]
        at = "" if each.start is None else f" at {each.start}"
        text = f"{profile.name}{at}{_inside(each, profile)}"
        counts[text] = counts.get(text, 0) + 1
    listed = (text if n == 1 else f"{n} x {text}" for text, n in counts.items())
    return ", ".join(listed) or "no instances"


def _inside(wanted: WantedInstance, profile: GpuInstanceProfile) -> str:
    slices = {each.id: each.slices for each in profile.compute}
    sizes = [slices[each] for each in wanted.compute]
    return "" if sizes == [profile.slices] else f" ({', '.join(f'{n}c' for n in sizes)})"


def _placed(entry: Entry, kind: GpuKind, problems: list[Problem]) -> Iterator[WantedInstance]:
    for placed in entry.placed:
        try:
            profile = match_profile(placed.profile, tuple(kind.profiles.values()))
            inside = _compute_of(placed, profile)
        except NoSuchProfileError as error:
            problems.append(_offers(entry, placed.path, kind, str(error)))
            continue
        starts = [each.start for each in profile.placements]
        if placed.start is not None and placed.start not in starts:
            problems.append(_misplaced(entry, placed, kind, profile))
        elif not holds(profile, inside):
            problems.append(_overfull(entry, placed, kind, profile))
        else:
            ids = tuple(each.id for each in inside)
            yield WantedInstance(profile=profile.id, compute=ids, start=placed.start)


def _misplaced(entry: Entry, placed: Placed, kind: GpuKind, profile: GpuInstanceProfile) -> Problem:
    starts = [each.start for each in profile.placements]
    near = min(starts, key=lambda start: abs(start - (placed.start or 0)), default=None)
    hint = "" if near is None else f"; did you mean {near}?"
    message = (
        f"{kind} can have {profile.name!r} at {', '.join(map(str, starts))}, "
        f"not at {placed.start}{hint}"
    )
    return Problem(where=entry.where, path=f"{placed.path}.start", message=message)


def _overfull(entry: Entry, placed: Placed, kind: GpuKind, profile: GpuInstanceProfile) -> Problem:
    asked = ", ".join(f"{each.count} x {each.profile.compute_slices}c" for each in placed.compute)
    message = f"{profile.name!r} of {kind} has {profile.slices} compute slices; {asked} do not fit"
    return Problem(where=entry.where, path=f"{placed.path}.compute", message=message)


def _compute_of(placed: Placed, profile: GpuInstanceProfile) -> list[ComputeProfile]:
    """Return the compute instances that are wanted inside, the largest first."""
    if not placed.compute:
        return [match_compute(placed.profile, profile)]
    inside = [
        found
        for counted in placed.compute
        for found in [match_compute(counted.profile, profile)]
        # One more than fits is enough to be refused, however many are asked for.
        for _ in range(min(counted.count, profile.slices + 1))
    ]
    return sorted(inside, key=lambda c: (-c.slices, c.id))


def _counted(entry: Entry, kind: GpuKind, problems: list[Problem]) -> Iterator[WantedInstance]:
    """Yield as few GPU instances as hold what is counted, profile by profile."""
    wanted: dict[int, list[ComputeProfile]] = {}
    profiles = kind.profiles
    for counted in entry.counted:
        try:
            profile = match_profile(counted.profile, tuple(kind.profiles.values()))
            compute = match_compute(counted.profile, profile)
        except NoSuchProfileError as error:
            problems.append(_offers(entry, counted.path, kind, str(error)))
            continue
        most = profile.most * compute.most
        if counted.count > most:
            problems.append(_more_than(entry, counted, kind, most))
        else:
            wanted.setdefault(profile.id, []).extend([compute] * counted.count)
    for each, compute_instances in wanted.items():
        yield from pack(profiles[each], compute_instances)


def _offers(entry: Entry, path: str, kind: GpuKind, said: str) -> Problem:
    return Problem(where=entry.where, path=path, message=f"{kind} {kind.verb('offers')} {said}")


def _more_than(entry: Entry, counted: Counted, kind: GpuKind, most: int) -> Problem:
    name, verb = str(counted.profile), kind.verb("holds")
    message = f"{kind} {verb} {most} of {name!r} at most, not {counted.count}"
    return Problem(where=entry.where, path=counted.path, message=message)


def _too_many(
    entry: Entry, kind: GpuKind, instances: Sequence[WantedInstance]
) -> Iterator[Problem]:
    profiles = kind.profiles
    ordered = in_order(instances, kind)
    if not fits(ordered, profiles):
        left = describe(most_that_fit(ordered, profiles), kind)
        message = f"{kind} cannot hold {describe(ordered, kind)} together; {left} would fit"
        yield Problem(where=entry.where, path=entry.path, message=message)
