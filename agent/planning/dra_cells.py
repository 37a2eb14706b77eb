"""Cells: GPUs that belong together, claimed as one device. Pure.

A claim for two GPUs gets the first two that fit, whatever it says of how near they are to be; a
claim for a pair gets one that the placement engine chose. Cells lie within each other, so that
pairs fill one half of a quad before they break another, and share the counters of their GPUs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from agent.config.own import Cell
from agent.model.inventory import Gpu, Inventory
from agent.planning.dra_devices import (
    PCI_BUS_ID,
    CounterSet,
    DraDevice,
    Value,
    Version,
    WholeGpus,
    attributes,
    board_facts,
    device_name,
)
from agent.planning.placement import PlacementTable, Request

SIZES: Mapping[Cell, int] = {Cell.PAIR: 2, Cell.QUAD: 4, Cell.OCTET: 8}
NODE_COUNTERS = "gpus"
# In one counter set.
_MOST_GPUS = 32
# What GPUs of one cell may differ in: that alone says nothing of the cell.
_OF_ONE_GPU = frozenset({"gpuIndex", "moduleID", PCI_BUS_ID})


class CellMembers(Struct, frozen=True, kw_only=True):
    """One cell: its kind, and its GPUs by UUID."""

    kind: Cell
    gpus: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return what the device is called: the same as long as the GPUs are."""
        digest = hashlib.sha256(" ".join(sorted(self.gpus)).encode()).hexdigest()
        return f"{self.kind}-{digest[:16]}"


def cell_with(gpus: tuple[str, ...]) -> CellMembers:
    """Return the cell that consists of these GPUs. Raises KeyError for no kind's number."""
    kinds = {size: kind for kind, size in SIZES.items()}
    return CellMembers(kind=kinds[len(gpus)], gpus=gpus)


def cells_of(
    table: PlacementTable, uuids: Sequence[str], kinds: Iterable[Cell]
) -> tuple[CellMembers, ...]:
    """Return the cells of a node's GPUs, the smallest kind first."""
    wanted = set(kinds)
    if len(uuids) > _MOST_GPUS or not wanted:
        return ()
    found: list[CellMembers] = []
    groups: list[tuple[str, ...]] = [tuple(sorted(uuids))]
    for kind, size in sorted(SIZES.items(), key=lambda pair: -pair[1]):
        parts = [part for group in groups for part in _parted(table, group, size)]
        cells = [CellMembers(kind=kind, gpus=part) for part in parts if len(part) == size]
        found = [*cells, *found] if kind in wanted else found
        groups = parts
    return tuple(found)


def cell_device(cell: CellMembers, gpus: Sequence[Gpu], inventory: Inventory) -> DraDevice:
    """Return a cell as DRA offers it: with the attributes that its GPUs have in common."""
    facts = [board_facts(gpu, inventory) for gpu in gpus]
    own: dict[str, Value | Version | None] = {"type": str(cell.kind), "gpuCount": len(gpus)}
    common = {
        name: value
        for name, value in facts[0].items()
        if name not in _OF_ONE_GPU and all(each[name] == value for each in facts)
    }
    return DraDevice(
        name=cell.name,
        subject=WholeGpus(gpus=cell.gpus),
        attributes=attributes(own | common),
        capacity={"memory": sum(gpu.memory_bytes for gpu in gpus), "gpus": len(gpus)},
    )


def node_counters(whole: Mapping[str, int]) -> CounterSet:
    """Return the counters that cells and GPUs draw on: parts of each GPU, by UUID."""
    return CounterSet(
        name=NODE_COUNTERS, counters={device_name(uuid): n for uuid, n in whole.items()}
    )


def node_consumption(parts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return what a device takes of these counters."""
    return {NODE_COUNTERS: {device_name(uuid): n for uuid, n in parts.items()}}


def _parted(table: PlacementTable, group: tuple[str, ...], size: int) -> Iterator[tuple[str, ...]]:
    """Yield the best part of a size, the best of what is left, and so on; what remains last."""
    left = group
    while len(left) >= size:
        request = Request(available=left, size=size, free=left)
        chosen = tuple(sorted(table.choose(request).devices))
        yield chosen
        left = tuple(uuid for uuid in left if uuid not in chosen)
    if left:
        yield left
