"""What fits: compute instances into a GPU instance, GPU instances onto a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from agent.model.mig import ComputeProfile, GpuInstanceProfile, MigPlacement, WantedInstance


def holds(profile: GpuInstanceProfile, compute: Sequence[ComputeProfile]) -> bool:
    """Return True when compute instances fit into one GPU instance together."""
    by_id = Counter(each.id for each in compute)
    most = {each.id: each.most for each in compute}
    return sum(each.slices for each in compute) <= profile.slices and all(
        count <= most[each] for each, count in by_id.items()
    )


def pack(
    profile: GpuInstanceProfile, compute: Iterable[ComputeProfile]
) -> tuple[WantedInstance, ...]:
    """Return as few GPU instances as hold compute instances, the fullest first.

    Each goes, the largest first, into the first instance that has room. That is the fewest for
    instances of up to 3 slices; of larger ones a GPU holds one.
    """
    bins: list[list[ComputeProfile]] = []
    for each in sorted(compute, key=lambda c: (-c.slices, c.id)):
        room = next((b for b in bins if holds(profile, [*b, each])), None)
        if room is None:
            bins.append([each])
        else:
            room.append(each)
    return tuple(WantedInstance(profile=profile.id, compute=tuple(c.id for c in b)) for b in bins)


def place(
    instances: Sequence[WantedInstance], profiles: Mapping[int, GpuInstanceProfile]
) -> tuple[MigPlacement, ...] | None:
    """Return where GPU instances can lie on an empty GPU together; None: they do not fit.

    In the order given. Exact: every combination of the driver's placements is tried.
    """
    counts = Counter(each.profile for each in instances)
    if any(count > profiles[each].most for each, count in counts.items()):
        return None
    order = sorted(
        range(len(instances)),
        key=lambda i: (instances[i].start is None, len(_choices(instances[i], profiles)), i),
    )
    taken = _search([_choices(instances[i], profiles) for i in order])
    if taken is None:
        return None
    by_number = dict(zip(order, taken, strict=True))
    return tuple(by_number[i] for i in range(len(instances)))


def fits(instances: Sequence[WantedInstance], profiles: Mapping[int, GpuInstanceProfile]) -> bool:
    """Return True when an empty GPU can hold GPU instances together."""
    return place(instances, profiles) is not None


def most_that_fit(
    instances: Sequence[WantedInstance], profiles: Mapping[int, GpuInstanceProfile]
) -> tuple[WantedInstance, ...]:
    """Return what is left of instances after dropping as few as makes the rest fit.

    Of equally many, what has the most memory slices; of those, the first as written.
    """
    kinds: Counter[WantedInstance] = Counter(instances)
    ranges = [range(min(n, profiles[k.profile].most), -1, -1) for k, n in kinds.items()]

    def worth(counts: tuple[int, ...]) -> tuple[int, int]:
        sizes = [
            max((p.size for p in profiles[kind.profile].placements), default=0) for kind in kinds
        ]
        return -sum(counts), -sum(n * size for n, size in zip(counts, sizes, strict=True))

    for counts in sorted(product(*ranges), key=worth):
        left = tuple(k for k, n in zip(kinds, counts, strict=True) for _ in range(n))
        if fits(left, profiles):
            return left
    return ()


def _choices(
    instance: WantedInstance, profiles: Mapping[int, GpuInstanceProfile]
) -> tuple[MigPlacement, ...]:
    placements = profiles[instance.profile].placements
    return tuple(p for p in placements if instance.start in {None, p.start})


def _search(choices: Sequence[tuple[MigPlacement, ...]]) -> list[MigPlacement] | None:
    """Return one placement of each list, none overlapping another."""

    def step(taken: list[MigPlacement]) -> Iterator[list[MigPlacement]]:
        if len(taken) == len(choices):
            yield taken
            return
        i = len(taken)
        # Instances with the same choices are alike: only one order of them is tried.
        least = taken[-1] if i and choices[i] == choices[i - 1] and len(choices[i]) > 1 else None
        for each in choices[i]:
            after = least is None or least < each
            if after and not any(each.overlaps(other) for other in taken):
                yield from step([*taken, each])

    return next(step([]), None)
