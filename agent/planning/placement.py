"""Chooses which devices a request gets: NUMA first, then NVLink, then PCIe.

This is the interface the exact engine (native/placement) will stand behind; the choice made
here is the simple one. Same table, same request: same answer, whatever the order of the ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from agent.model.inventory import Distance, Gpu, Inventory, nvlinks_between

# Up to here every subset's value is computed once per snapshot (2^12 rows of a few integers,
# milliseconds in the background); above, sets are grown one device at a time.
EXACT_UP_TO = 12

NEARNESS = {
    Distance.PIX: 4,
    Distance.PXB: 3,
    Distance.PHB: 2,
    Distance.NODE: 1,
    Distance.SYS: 0,
}
# One NVLink outweighs any PCIe distance (at most 2 * 4, and 1 for a shared NUMA node).
PER_NVLINK = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``size`` devices out of ``available``, among them all of ``must_include``."""

    available: tuple[str, ...]
    must_include: tuple[str, ...] = ()
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why this set: the key it won by, and its weakest pair."""

    numa_nodes: int
    """How many NUMA nodes the set spans."""
    weakest_pair: tuple[str, str] | None
    weakest_pair_value: int | None
    total_pair_value: int
    left_free_value: int
    """Pair value of what stays free: whole pairs and nodes kept for later requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The chosen devices, in stable order, and why."""

    devices: tuple[str, ...]
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class _Subset:
    numa_nodes: int  # bit mask
    weakest: int
    total: int


class PlacementTable:
    """Everything placement needs of a snapshot, computed when the snapshot is built."""

    def __init__(self, inventory: Inventory, gpus: Sequence[Gpu]) -> None:
        """Rank ``gpus`` by PCI address and compute the value of every pair of them."""
        ranked = sorted(gpus, key=lambda gpu: gpu.address)
        self._uuids = tuple(gpu.uuid for gpu in ranked)
        self._bits = {uuid: 1 << rank for rank, uuid in enumerate(self._uuids)}
        self._numa = _numa_bits(ranked)
        self._pairs = [[_pair_value(inventory, a, b) for b in ranked] for a in ranked]
        self._subsets: dict[int, _Subset] = {0: _Subset(0, _NO_PAIR, 0)}
        if len(ranked) <= EXACT_UP_TO:
            for mask in range(1, 1 << len(ranked)):
                self._subsets[mask] = self._extend(mask)

    def choose(self, request: Request) -> Placement:
        """Return the best set. Never raises: an impossible request gets the nearest answer.

        Unknown ids are ignored unless they are needed to reach the size; fewer devices than
        asked for are returned only when there are no more.
        """
        offered = sorted({*request.available, *request.must_include})
        must = sorted(set(request.must_include))[: request.size]
        if len(offered) <= request.size:
            return self._placement(offered, self._mask(offered))
        known = self._mask(offered)
        start = self._mask(must)
        missing = min(request.size - len(must), (known & ~start).bit_count())
        best = self._best(known, start, missing)
        named = [uuid for uuid, bit in self._bits.items() if best & bit]
        chosen = [*named, *(uuid for uuid in must if uuid not in self._bits)]
        chosen += [uuid for uuid in offered if uuid not in chosen][: request.size - len(chosen)]
        return self._placement(chosen, known)

    def _best(self, known: int, start: int, missing: int) -> int:
        candidates = _bits_of(known & ~start)
        if len(self._uuids) <= EXACT_UP_TO:
            sets: Iterable[int] = (start | sum(add) for add in combinations(candidates, missing))
            return max(sets, key=lambda mask: self._key(known, mask))
        return self._grow(known, start, missing)

    def _grow(self, known: int, start: int, missing: int) -> int:
        candidates = _bits_of(known & ~start)
        chosen = start
        for _ in range(missing):
            grown = (chosen | bit for bit in candidates if not chosen & bit)
            chosen = max(grown, key=lambda mask: self._key(known, mask))
        return chosen

    def _key(self, known: int, mask: int) -> tuple[int, int, int, int, int]:
        subset = self._value(mask)
        left = self._value(known & ~mask)
        # The mask itself comes last: lower ranks win, and no tie is left.
        return (-subset.numa_nodes.bit_count(), subset.weakest, subset.total, left.total, -mask)

    def _value(self, mask: int) -> _Subset:
        found = self._subsets.get(mask)
        return self._evaluate(mask) if found is None else found

    def _extend(self, mask: int) -> _Subset:
        lowest = mask & -mask
        rest = self._subsets[mask ^ lowest]
        rank = lowest.bit_length() - 1
        values = [self._pairs[rank][other] for other in _ranks(mask ^ lowest)]
        return _Subset(
            rest.numa_nodes | self._numa[rank],
            min([rest.weakest, *values]),
            rest.total + sum(values),
        )

    def _evaluate(self, mask: int) -> _Subset:
        ranks = _ranks(mask)
        values = [self._pairs[a][b] for a, b in combinations(ranks, 2)]
        numa = 0
        for rank in ranks:
            numa |= self._numa[rank]
        return _Subset(numa, min(values, default=_NO_PAIR), sum(values))

    def _mask(self, uuids: Iterable[str]) -> int:
        return sum(self._bits.get(uuid, 0) for uuid in uuids)

    def _placement(self, chosen: Sequence[str], known: int) -> Placement:
        mask = self._mask(chosen)
        weakest = min(
            combinations(_ranks(mask), 2),
            key=lambda pair: self._pairs[pair[0]][pair[1]],
            default=None,
        )
        subset = self._value(mask)
        return Placement(
            devices=tuple(chosen),
            explanation=Explanation(
                numa_nodes=subset.numa_nodes.bit_count(),
                weakest_pair=weakest and (self._uuids[weakest[0]], self._uuids[weakest[1]]),
                weakest_pair_value=subset.weakest if weakest else None,
                total_pair_value=subset.total,
                left_free_value=self._value(known & ~mask).total,
            ),
        )


# A single device has no pair: no pair can be better than that.
_NO_PAIR = 1 << 30


def _pair_value(inventory: Inventory, a: Gpu, b: Gpu) -> int:
    if a.uuid == b.uuid:
        return 0
    distance = inventory.distance(a.uuid, b.uuid) or Distance.SYS
    same_node = a.numa_node is not None and a.numa_node == b.numa_node
    return PER_NVLINK * nvlinks_between(a, b) + 2 * NEARNESS[distance] + same_node


def _numa_bits(gpus: Iterable[Gpu]) -> list[int]:
    # A GPU of unknown node counts as a node of its own kind: unknown is never best.
    bits: dict[int | None, int] = {}
    return [bits.setdefault(gpu.numa_node, 1 << len(bits)) for gpu in gpus]


def _bits_of(mask: int) -> list[int]:
    return [1 << rank for rank in _ranks(mask)]


def _ranks(mask: int) -> list[int]:
    return [rank for rank in range(mask.bit_length()) if mask >> rank & 1]
