"""Which devices one container gets of one resource: the device manager's rules."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from msgspec import Struct

from deviceplugin.standin.numa import mask_of

Prefer = Callable[[list[str], list[str], int], Awaitable[Collection[str]]]
"""Asks the plugin: available, must include, size; both lists in random order."""


class SelectionFailed(Exception):  # noqa: N818  # becomes an AdmissionFailed
    """The resource cannot give what was asked."""


class Stock(Struct, frozen=True, kw_only=True):
    """What a resource has at the moment of a request."""

    topology: Mapping[str, tuple[int, ...]]
    """NUMA nodes of every device, healthy or not."""
    healthy: frozenset[str]
    allocated: frozenset[str]
    """Devices of other containers; those to be reused are among them."""

    @property
    def available(self) -> frozenset[str]:
        """Return what is free and healthy."""
        return self.healthy - self.allocated

    @property
    def has_topology(self) -> bool:
        """Return whether any device says where it is."""
        return any(self.topology.values())


class Split(Struct, frozen=True, kw_only=True):
    """The available devices by how they stand to an affinity."""

    aligned: frozenset[str]
    unaligned: frozenset[str]
    without_topology: frozenset[str]


def split(stock: Stock, affinity: int | None) -> Split:
    """Sort the available devices by affinity; without one, or without topology, by nothing."""
    if affinity is None or not stock.has_topology:
        nothing = frozenset[str]()
        return Split(aligned=nothing, unaligned=nothing, without_topology=stock.available)
    placed = frozenset(id_ for id_ in stock.available if stock.topology[id_])
    aligned = frozenset(id_ for id_ in placed if mask_of(stock.topology[id_]) & affinity)
    return Split(
        aligned=aligned, unaligned=placed - aligned, without_topology=stock.available - placed
    )


class Selection:
    """Takes devices one by one, in random order wherever the kubelet walks a map."""

    def __init__(self, required: int, *, rng: random.Random, prefer: Prefer) -> None:
        """Start with nothing taken."""
        self._required = required
        self._taken: set[str] = set()
        self._rng = rng
        self._prefer = prefer

    async def run(
        self, resource: str, stock: Stock, *, reusable: Iterable[str], affinity: int | None
    ) -> frozenset[str]:
        """Return the devices. Raises SelectionFailed, and what asking the plugin raises.

        The plugin is asked only where it has a choice: among aligned devices if there are
        more than needed, else about what is missing once all aligned ones are taken.
        """
        if self._take(reusable):
            return frozenset(self._taken)
        available = stock.available
        if len(available) < self._needed:
            raise SelectionFailed(
                f"requested number of devices unavailable for {resource}: "
                f"{self._needed} requested, {len(available)} available"
            )
        parts = split(stock, affinity)
        if self._needed < len(parts.aligned):
            await self._take_preferred(parts.aligned)
            self._take(parts.aligned)
        elif not self._take(parts.aligned):
            await self._take_preferred(available)
            self._take(parts.unaligned)
            self._take(parts.without_topology)
        return frozenset(self._taken)

    @property
    def _needed(self) -> int:
        return self._required - len(self._taken)

    async def _take_preferred(self, offered: frozenset[str]) -> None:
        available = self._shuffled(offered | self._taken)
        preferred = await self._prefer(available, self._shuffled(self._taken), self._required)
        self._take(offered.intersection(preferred))

    def _take(self, ids: Iterable[str]) -> bool:
        """Take as many as are needed; return whether that is all."""
        for id_ in self._shuffled(set(ids) - self._taken):
            if self._needed == 0:
                break
            self._taken.add(id_)
        return self._needed == 0

    def _shuffled(self, ids: Collection[str]) -> list[str]:
        ordered = sorted(ids)
        self._rng.shuffle(ordered)
        return ordered
