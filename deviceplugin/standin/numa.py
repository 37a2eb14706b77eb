"""The topology manager: hints of each resource, merged into one NUMA affinity. Pure.

A set of NUMA nodes is a bit mask, as in the kubelet: bit n stands for node n.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, field

LOCAL_DISTANCE = 10
REMOTE_DISTANCE = 20
"""SLIT distances assumed where none are given."""


class Policy(StrEnum):
    """Topology manager policies, by their names in the kubelet's configuration."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    RESTRICTED = "restricted"
    SINGLE_NUMA_NODE = "single-numa-node"


class Numa(Struct, frozen=True, kw_only=True):
    """The NUMA nodes of the machine and how far apart they are."""

    nodes: tuple[int, ...] = (0,)
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """SLIT distance of pairs of nodes; 10 on the diagonal and 20 elsewhere if not given."""

    @property
    def all_nodes(self) -> int:
        """Return the mask of every node."""
        return mask_of(self.nodes)

    def mean_distance(self, mask: int) -> Fraction:
        """Return the mean over all ordered pairs of nodes in a mask, each with itself too."""
        nodes = nodes_of(mask)
        total = sum(self._distance(a, b) for a in nodes for b in nodes)
        return Fraction(total, len(nodes) ** 2)

    def _distance(self, a: int, b: int) -> int:
        local = LOCAL_DISTANCE if a == b else REMOTE_DISTANCE
        return self.distances.get((a, b), self.distances.get((b, a), local))


class Hint(Struct, frozen=True, kw_only=True):
    """One possible affinity; ``mask`` None means any node will do."""

    mask: int | None
    preferred: bool


Hints = Sequence[Hint] | None
"""Of one resource: None is no preference, an empty sequence cannot be satisfied."""


def mask_of(nodes: Iterable[int]) -> int:
    """Return the mask of these nodes."""
    mask = 0
    for node in nodes:
        mask |= 1 << node
    return mask


def nodes_of(mask: int) -> tuple[int, ...]:
    """Return the nodes of a mask, ascending."""
    return tuple(node for node in range(mask.bit_length()) if mask >> node & 1)


def masks(nodes: Iterable[int]) -> Iterator[int]:
    """Return every non-empty set of nodes, smaller sets first."""
    ordered = sorted(nodes)
    for size in range(1, len(ordered) + 1):
        for chosen in itertools.combinations(ordered, size):
            yield mask_of(chosen)


def device_hints(
    topology: Mapping[str, tuple[int, ...]],
    *,
    available: Collection[str],
    reusable: Collection[str],
    request: int,
) -> list[Hint]:
    """Return the hints of one resource that has topology.

    ``topology`` holds the NUMA nodes of every device, free or not. A hint is kept where
    enough devices are free; it is preferred if no smaller set of nodes has enough devices,
    free or not.
    """
    of_device = {id_: mask_of(nodes) for id_, nodes in topology.items()}
    smallest: int | None = None
    kept: list[int] = []
    for mask in masks(set(itertools.chain.from_iterable(topology.values()))):
        if sum(bool(nodes & mask) for nodes in of_device.values()) >= request:
            smallest = min(mask.bit_count(), smallest or mask.bit_count())
        reused = [of_device[id_] for id_ in reusable if of_device.get(id_)]
        if any(not nodes & mask for nodes in reused):
            continue
        free = sum(bool(of_device[id_] & mask) for id_ in available)
        if free + len(reused) >= request:
            kept.append(mask)
    return [Hint(mask=mask, preferred=mask.bit_count() == smallest) for mask in kept]


def affinity(
    hints: Sequence[Hints], *, numa: Numa, policy: Policy, prefer_closest: bool
) -> tuple[int | None, bool]:
    """Return the merged affinity (None for any) and whether the policy admits the pod."""
    if policy is Policy.NONE:
        return None, True
    candidates = [_candidates(each) for each in hints] or [[Hint(mask=None, preferred=True)]]
    if policy is Policy.SINGLE_NUMA_NODE:
        candidates = [[hint for hint in each if _is_single(hint)] for each in candidates]
        prefer_closest = False
    best = _Merger(numa, candidates, prefer_closest=prefer_closest).merge()
    # For this policy, every node there is means no affinity at all.
    anywhere = policy is Policy.SINGLE_NUMA_NODE and best.mask == numa.all_nodes
    return None if anywhere else best.mask, best.preferred or policy is Policy.BEST_EFFORT


def _candidates(hints: Hints) -> Sequence[Hint]:
    if hints is None:
        return [Hint(mask=None, preferred=True)]
    return hints or [Hint(mask=None, preferred=False)]


def _is_single(hint: Hint) -> bool:
    return hint.preferred and (hint.mask is None or hint.mask.bit_count() == 1)


class _Merged(Struct, frozen=True):
    mask: int
    preferred: bool

    @property
    def width(self) -> int:
        return self.mask.bit_count()


class _Merger:
    """Finds the best intersection of one hint of each resource."""

    def __init__(
        self, numa: Numa, candidates: Sequence[Sequence[Hint]], *, prefer_closest: bool
    ) -> None:
        self._numa = numa
        self._candidates = candidates
        self._prefer_closest = prefer_closest
        # Without a preferred hint, the width to aim at: what the resource that needs most
        # nodes needs at least.
        self._wanted_width = max((_narrowest(each) for each in candidates), default=0)

    def merge(self) -> _Merged:
        best: _Merged | None = None
        for chosen in itertools.product(*self._candidates):
            merged = self._intersect(chosen)
            if merged.mask:
                best = merged if best is None else self._better(best, merged)
        return best or _Merged(self._numa.all_nodes, preferred=False)

    def _intersect(self, chosen: Sequence[Hint]) -> _Merged:
        given = [hint.mask for hint in chosen if hint.mask is not None]
        merged = self._numa.all_nodes
        for mask in given:
            merged &= mask
        agreed = len(set(given)) <= 1
        return _Merged(merged, preferred=agreed and all(hint.preferred for hint in chosen))

    def _better(self, current: _Merged, other: _Merged) -> _Merged:
        if current.preferred != other.preferred:
            return current if current.preferred else other
        if not current.preferred and current.width <= self._wanted_width:
            # Neither is preferred: come as near to the wanted width as possible from below.
            if other.width > self._wanted_width:
                return current
            if other.width != current.width:
                return max(current, other, key=lambda merged: merged.width)
        return self._fitter(current, other)

    def _fitter(self, current: _Merged, other: _Merged) -> _Merged:
        return other if self._rank(other) < self._rank(current) else current

    def _rank(self, merged: _Merged) -> tuple[int, Fraction, int]:
        near = self._prefer_closest
        distance = self._numa.mean_distance(merged.mask) if near else Fraction(0)
        return merged.width, distance, merged.mask


def _narrowest(hints: Sequence[Hint]) -> int:
    return min((hint.mask.bit_count() for hint in hints if hint.mask is not None), default=0)
