"""Chooses which devices a request gets: NUMA first, then NVLink, then PCIe.

This is the interface the exact engine (native/placement) will stand behind; the choice made
here is the simple one. Same table, same request: same answer, whatever the order of the ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subset:
    numa_nodes: int  # bit mask
    weakest: int
    total: int
    key: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        key = (-self.numa_nodes.bit_count(), self.weakest, self.total)
        object.__setattr__(self, "key", key)


class PlacementTable:
    """Everything placement needs of a snapshot, computed when the snapshot is built."""

    def __init__(self, inventory: Inventory, gpus: Sequence[Gpu]) -> None:
        """Rank ``gpus`` by PCI address and compute the value of every pair of them."""
        ranked = sorted(gpus, key=lambda gpu: gpu.address)
        self._uuids = tuple(gpu.uuid for gpu in ranked)
        self._bits = {uuid: 1 << rank for rank, uuid in enumerate(self._uuids)}
        self._numa = _numa_bits(ranked)
        self._pairs = [[_pair_value(inventory, a, b) for b in ranked] for a in ranked]
        self._subsets: list[_Subset] = []
        self._best_first: list[list[int]] = []
        if len(ranked) <= EXACT_UP_TO:
            self._tabulate(len(ranked))

    def choose(self, request: Request) -> Placement:
        """Return the best set. Never raises: an impossible request gets the nearest answer.

        Unknown ids are ignored unless they are needed to reach the size; fewer devices than
        asked for are returned only when there are no more.
        """
        offered = sorted({*request.available, *request.must_include})
        known = self._mask(offered)
        if len(offered) <= request.size:
            return self._placement(offered, known)
        must = sorted(set(request.must_include))[: request.size]
        start = self._mask(must)
        missing = min(request.size - len(must), (known & ~start).bit_count())
        best = self._best(known, start, missing)
        named = [uuid for uuid, bit in self._bits.items() if best & bit]
        chosen = [*named, *(uuid for uuid in must if uuid not in self._bits)]
        chosen += [uuid for uuid in offered if uuid not in chosen][: request.size - len(chosen)]
        return self._placement(chosen, known)

    def _best(self, known: int, start: int, missing: int) -> int:
        if not self._best_first:
            return self._grow(known, start, missing)
        best, best_key, best_left = start, None, -1
        for mask in self._best_first[start.bit_count() + missing]:
            if mask & ~known or mask & start != start:
                continue
            key = self._subsets[mask].key
            if best_key is not None and key != best_key:
                break  # the rest is sorted behind it
            left = self._subsets[known & ~mask].total
            if left > best_left:
                best, best_key, best_left = mask, key, left
        return best

    def _grow(self, known: int, start: int, missing: int) -> int:
        chosen = start
        for _ in range(missing):
            grown = [chosen | 1 << rank for rank in _ranks(known & ~chosen)]
            chosen = max(grown, key=lambda mask: (*self._evaluate(mask).key, -mask))
        return chosen

    def _tabulate(self, count: int) -> None:
        """Value every subset, and sort those of each size, best first, lower ranks first."""
        self._subsets.append(_Subset(numa_nodes=0, weakest=_NO_PAIR, total=0))
        for mask in range(1, 1 << count):
            self._subsets.append(self._extend(mask))
        self._best_first = [[] for _ in range(count + 1)]
        for mask in range(1 << count):
            self._best_first[mask.bit_count()].append(mask)
        for masks in self._best_first:
            masks.sort(key=lambda mask: self._subsets[mask].key, reverse=True)

    def _extend(self, mask: int) -> _Subset:
        lowest = mask & -mask
        rest = self._subsets[mask ^ lowest]
        rank = lowest.bit_length() - 1
        values = [self._pairs[rank][other] for other in _ranks(mask ^ lowest)]
        return _Subset(
            numa_nodes=rest.numa_nodes | self._numa[rank],
            weakest=min([rest.weakest, *values]),
            total=rest.total + sum(values),
        )

    def _evaluate(self, mask: int) -> _Subset:
        if self._subsets:
            return self._subsets[mask]
        ranks = _ranks(mask)
        values = [self._pairs[a][b] for a, b in combinations(ranks, 2)]
        numa = 0
        for rank in ranks:
            numa |= self._numa[rank]
        return _Subset(numa_nodes=numa, weakest=min(values, default=_NO_PAIR), total=sum(values))

    def _mask(self, uuids: Iterable[str]) -> int:
        return sum(self._bits.get(uuid, 0) for uuid in uuids)

    def _placement(self, chosen: Sequence[str], known: int) -> Placement:
        mask = self._mask(chosen)
        subset = self._evaluate(mask)
        return Placement(
            devices=tuple(chosen),
            explanation=Explanation(
                numa_nodes=subset.numa_nodes.bit_count(),
                weakest_pair=self._pair_worth(mask, subset.weakest),
                weakest_pair_value=None if subset.weakest == _NO_PAIR else subset.weakest,
                total_pair_value=subset.total,
                left_free_value=self._evaluate(known & ~mask).total,
            ),
        )

    def _pair_worth(self, mask: int, value: int) -> tuple[str, str] | None:
        for a, b in combinations(_ranks(mask), 2):
            if self._pairs[a][b] == value:
                return self._uuids[a], self._uuids[b]
        return None


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


def _ranks(mask: int) -> list[int]:
    return [rank for rank in range(mask.bit_length()) if mask >> rank & 1]
