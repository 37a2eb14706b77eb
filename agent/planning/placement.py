"""Chooses which GPUs a request gets: the best set there is, with the reason.

The search is native (native/placement). This module speaks its numbers in the words of the
node. Same table, same request: same answer, whatever the order of the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import TypeVar

from msgspec import Struct

from agent._native import Choice, PlacementEngine, PlacementPolicy
from agent.model.inventory import Gpu, Inventory
from agent.planning.explanation import Explanation, Left, first_difference, names_of, places
from agent.planning.placement_model import PlacementModel, build_model

T = TypeVar("T")

# What is reported of what stays free: how many requests of these sizes could still be placed
# as well as on an empty node.
SIZES = (2, 4, 8)


class Request(Struct, frozen=True, kw_only=True):
    """``size`` devices out of ``available``, among them all of ``must_include``."""

    available: tuple[str, ...]
    must_include: tuple[str, ...] = ()
    size: int
    free: tuple[str, ...] = ()
    """What is free on the whole node, where more is known than what is offered."""
    policy: PlacementPolicy = PlacementPolicy.DEFAULT
    rails: int = 0
    """How many NICs are wanted beside the GPUs."""
    rails_taken: tuple[str, ...] = ()
    """NICs that do not count, as others have them."""


class Placement:
    """The chosen devices, in stable order, and why; the reasons are worked out when asked for."""

    def __init__(
        self,
        devices: tuple[str, ...],
        explain: Callable[[], Explanation],
        *,
        gpus: tuple[str, ...] | None = None,
    ) -> None:
        """``gpus`` are those behind the devices, where the devices are no GPUs themselves.

        ``explain`` is called once at most, and not while the kubelet waits for an answer.
        """
        self.devices = devices
        self.gpus = devices if gpus is None else gpus
        self._explain = explain

    @cached_property
    def explanation(self) -> Explanation:
        """Return why these devices."""
        return self._explain()


class PlacementTable:
    """Everything placement needs of a snapshot, computed when the snapshot is built."""

    def __init__(self, inventory: Inventory, gpus: Sequence[Gpu]) -> None:
        """Model ``gpus`` and let the engine tabulate them."""
        first = sorted(gpus, key=lambda gpu: gpu.address)[: PlacementEngine.most_devices]
        self.model = build_model(inventory, first)
        self._ranks = {uuid: rank for rank, uuid in enumerate(self.model.uuids)}
        self.engine = _engine(self.model)

    def choose(self, request: Request) -> Placement:
        """Return the best set. Never raises: an impossible request gets the nearest answer.

        Unknown ids are ignored unless they are needed to reach the size; fewer devices than
        asked for are returned only when there are no more.
        """
        offered = sorted({*request.available, *request.must_include})
        must = sorted(set(request.must_include))[: request.size]
        available = self._mask(offered)
        strangers = [uuid for uuid in must if uuid not in self._ranks]
        size = max(0, min(request.size - len(strangers), available.bit_count()))
        free = available | self._mask(request.free)
        choice = self.engine.choose(
            available=available,
            must=self._mask(must),
            size=size,
            free=free,
            policy=request.policy,
            rails_wanted=request.rails,
            rails_free=self._rails_free(request.rails_taken),
        )
        chosen = [*self.uuids(choice.chosen), *strangers]
        chosen += [uuid for uuid in offered if uuid not in chosen][: request.size - len(chosen)]
        return Placement(tuple(chosen), lambda: self._explain(choice, free))

    def _explain(self, choice: Choice, free: int) -> Explanation:
        model, mask = self.model, choice.chosen
        pairs = mask.bit_count() * (mask.bit_count() - 1) // 2
        limit = choice.limiting_pair
        names = names_of(choice.terms)
        return Explanation(
            key=places(names, choice.key),
            ring_gbps=choice.ring_gbps,
            min_pair_gbps=choice.min_pair_gbps,
            mean_pair_gbps=round(choice.sum_pair_gbps / pairs, 1) if pairs else None,
            numa_nodes=_named(model.numa, model.numa_nodes, mask),
            sockets=_named(model.socket, model.sockets, mask),
            rails=_named(model.rails, model.rail_names, mask),
            limiting_pair=(model.uuids[limit[0]], model.uuids[limit[1]]) if limit else None,
            limiting_path=model.pair_words[limit[0]][limit[1]] if limit else None,
            runner_up=None if choice.runner_up is None else self.uuids(choice.runner_up),
            lost_at=None
            if choice.runner_up_key is None
            else first_difference(names, choice.key, choice.runner_up_key),
            left=self._left(free & ~mask),
            exact=choice.exact,
        )

    def _left(self, free: int) -> tuple[Left, ...]:
        found = ((size, *self.engine.largest_aligned(free, size)) for size in SIZES)
        return tuple(
            Left(size=size, count=count, min_pair_gbps=gbps, gpus=self.uuids(mask))
            for size, count, gbps, mask in found
            if mask
        )

    def left(self, free: Iterable[str]) -> tuple[Left, ...]:
        """Return the best sets that can still be made of free GPUs, by size."""
        return self._left(self._mask(free))

    def room(self, free: Iterable[str]) -> float:
        """Return what can still be placed on free GPUs against the empty node, 0 to 1."""
        whole = self.engine.fragmentation((1 << len(self.model.uuids)) - 1)
        return self.engine.fragmentation(self._mask(free)) / whole if whole else 0.0

    def rank(self, uuid: str) -> int | None:
        """Return the engine's number of a GPU; None for one that it does not know."""
        return self._ranks.get(uuid)

    def rails_of(self, uuid: str) -> list[str]:
        """Return the NICs beside a GPU; none for one that is not known."""
        rank = self._ranks.get(uuid)
        return [] if rank is None else self.model.rails_of(rank)

    def uuids(self, mask: int) -> tuple[str, ...]:
        """Return the GPUs of an engine's mask, in the order of ranks."""
        return tuple(uuid for rank, uuid in enumerate(self.model.uuids) if mask >> rank & 1)

    def _rails_free(self, taken: Collection[str]) -> int | None:
        if not taken:
            return None
        names = enumerate(self.model.rail_names)
        return sum(1 << bit for bit, name in names if name not in taken)

    def _mask(self, uuids: Iterable[str]) -> int:
        return sum(1 << self._ranks[uuid] for uuid in set(uuids) if uuid in self._ranks)


def _engine(model: PlacementModel) -> PlacementEngine:
    if not model.uuids:
        # One device of which nothing is ever available, so that no caller has to ask.
        return PlacementEngine(
            pair_gbps=[[0]], numa=[0], socket=[0], clique=[-1], rails=[0], penalty=[0]
        )
    return PlacementEngine(
        pair_gbps=model.pair_gbps,
        numa=model.numa,
        socket=model.socket,
        clique=model.clique,
        rails=model.rails,
        penalty=model.penalty,
    )


def _named(bits: Sequence[int], names: Sequence[T], mask: int) -> tuple[T, ...]:
    """Return the names of all bits that the devices of a mask have."""
    seen = 0
    for rank, own in enumerate(bits):
        seen |= own if mask >> rank & 1 else 0
    return tuple(name for position, name in enumerate(names) if seen >> position & 1)
