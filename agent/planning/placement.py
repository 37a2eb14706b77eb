"""Chooses which GPUs a request gets: the best set there is, with the reason.

The search is native (native/placement). This module speaks its numbers in the words of the
node. Same table, same request: same answer, whatever the order of the ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent._native import Choice, PlacementEngine, PlacementPolicy
from agent.model.inventory import Gpu, Inventory
from agent.planning.placement_model import PlacementModel, build_model

T = TypeVar("T")

# What is reported of what stays free: how many requests of these sizes could still be placed
# as well as on an empty node.
SIZES = (2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``size`` devices out of ``available``, among them all of ``must_include``."""

    available: tuple[str, ...]
    must_include: tuple[str, ...] = ()
    size: int
    free: tuple[str, ...] = ()
    """What is free on the whole node, where more is known than what is offered."""
    policy: PlacementPolicy = PlacementPolicy.DEFAULT
    rails: int = 0
    """How many NICs are wanted beside the GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What stays free for requests of one size."""

    size: int
    count: int
    """How many disjoint sets as good as the best of the whole node."""
    min_pair_gbps: int
    """Slowest pair of the best set left; 0 where none of the size is left."""
    gpus: tuple[str, ...]
    """That set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why this set."""

    key: Mapping[str, int]
    """What sets were compared by, in this order; larger is better."""
    ring_gbps: int | None
    """Slowest hop of the best ring through the set; None for fewer than two GPUs."""
    min_pair_gbps: int | None
    mean_pair_gbps: float | None
    numa_nodes: tuple[int, ...]
    sockets: tuple[int, ...]
    rails: tuple[str, ...]
    """Usable NICs beside the set."""
    limiting_pair: tuple[str, str] | None
    limiting_path: str | None
    """What joins that pair: ``NV18``, ``PIX``."""
    runner_up: tuple[str, ...] | None
    """The best set that was not chosen; None when there was no other."""
    lost_at: str | None
    """The first place of the key at which it lost."""
    left: tuple[Left, ...]
    exact: bool
    """No set is better; False when the search was cut short."""

    @property
    def left_words(self) -> str:
        """Return what stays free in a word, as ``2x4 1x8``."""
        return " ".join(f"{each.count}x{each.size}" for each in self.left) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The chosen devices, in stable order, and why."""

    devices: tuple[str, ...]
    explanation: Explanation


class PlacementTable:
    """Everything placement needs of a snapshot, computed when the snapshot is built."""

    def __init__(self, inventory: Inventory, gpus: Sequence[Gpu]) -> None:
        """Model ``gpus`` and let the engine tabulate them."""
        first = sorted(gpus, key=lambda gpu: gpu.address)[: PlacementEngine.most_devices]
        self.model = build_model(inventory, first)
        self._bits = {uuid: 1 << rank for rank, uuid in enumerate(self.model.uuids)}
        self._engine = _engine(self.model)

    def choose(self, request: Request) -> Placement:
        """Return the best set. Never raises: an impossible request gets the nearest answer.

        Unknown ids are ignored unless they are needed to reach the size; fewer devices than
        asked for are returned only when there are no more.
        """
        offered = sorted({*request.available, *request.must_include})
        must = sorted(set(request.must_include))[: request.size]
        available = self._mask(offered)
        strangers = [uuid for uuid in must if uuid not in self._bits]
        size = max(0, min(request.size - len(strangers), available.bit_count()))
        free = available | self._mask(request.free)
        choice = self._engine.choose(
            available=available,
            must=self._mask(must),
            size=size,
            free=free,
            policy=request.policy,
            rails_wanted=request.rails,
        )
        chosen = [*self._uuids(choice.chosen), *strangers]
        chosen += [uuid for uuid in offered if uuid not in chosen][: request.size - len(chosen)]
        return Placement(devices=tuple(chosen), explanation=self._explain(choice, free))

    def _explain(self, choice: Choice, free: int) -> Explanation:
        model, mask = self.model, choice.chosen
        pairs = mask.bit_count() * (mask.bit_count() - 1) // 2
        limit = choice.limiting_pair
        return Explanation(
            key={
                term.name.lower(): value
                for term, value in zip(choice.terms, choice.key, strict=True)
            },
            ring_gbps=choice.ring_gbps,
            min_pair_gbps=choice.min_pair_gbps,
            mean_pair_gbps=round(choice.sum_pair_gbps / pairs, 1) if pairs else None,
            numa_nodes=_named(model.numa, model.numa_nodes, mask),
            sockets=_named(model.socket, model.sockets, mask),
            rails=_named(model.rails, model.rail_names, mask),
            limiting_pair=(model.uuids[limit[0]], model.uuids[limit[1]]) if limit else None,
            limiting_path=model.pair_words[limit[0]][limit[1]] if limit else None,
            runner_up=None if choice.runner_up is None else self._uuids(choice.runner_up),
            lost_at=_lost_at(choice),
            left=self._left(free & ~mask),
            exact=choice.exact,
        )

    def _left(self, free: int) -> tuple[Left, ...]:
        found = ((size, *self._engine.largest_aligned(free, size)) for size in SIZES)
        return tuple(
            Left(size=size, count=count, min_pair_gbps=gbps, gpus=self._uuids(mask))
            for size, count, gbps, mask in found
            if mask
        )

    def _mask(self, uuids: Iterable[str]) -> int:
        return sum(self._bits.get(uuid, 0) for uuid in set(uuids))

    def _uuids(self, mask: int) -> tuple[str, ...]:
        return tuple(uuid for uuid, bit in self._bits.items() if mask & bit)


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


def _lost_at(choice: Choice) -> str | None:
    if choice.runner_up_key is None:
        return None
    places = zip(choice.terms, choice.key, choice.runner_up_key, strict=True)
    return next((term.name.lower() for term, won, lost in places if won != lost), None)


def _named(bits: Sequence[int], names: Sequence[T], mask: int) -> tuple[T, ...]:
    """Return the names of all bits that the devices of a mask have."""
    seen = 0
    for rank, own in enumerate(bits):
        seen |= own if mask >> rank & 1 else 0
    return tuple(name for position, name in enumerate(names) if seen >> position & 1)
