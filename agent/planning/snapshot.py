"""The Snapshot: one generation of everything an RPC may ask about, swapped in whole."""

from __future__ import annotations

from dataclasses import dataclass

from agent.model.inventory import Gpu, Inventory
from agent.planning.catalog import Catalog, build_catalog
from agent.planning.health import Health
from agent.planning.placement import PlacementTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Inventory, Catalog and tables that belong together."""

    generation: int
    inventory: Inventory
    departed: tuple[Gpu, ...]
    """GPUs of earlier generations that no longer answer."""
    catalog: Catalog
    placement: PlacementTable

    def gpu(self, uuid: str) -> Gpu | None:
        """Return a GPU by UUID, answering or not."""
        present = self.inventory.gpu(uuid)
        return present or next((gpu for gpu in self.departed if gpu.uuid == uuid), None)


def build_snapshot(inventory: Inventory, health: Health, previous: Snapshot | None) -> Snapshot:
    """Return the generation after ``previous`` for a fresh look at the node."""
    present = {gpu.uuid for gpu in inventory.gpus}
    seen = (*previous.inventory.gpus, *previous.departed) if previous else ()
    departed = tuple(gpu for gpu in seen if gpu.uuid not in present)
    same = previous is not None and previous.inventory == inventory
    return Snapshot(
        generation=previous.generation + 1 if previous else 1,
        inventory=inventory,
        departed=departed,
        catalog=build_catalog(inventory, health, departed),
        placement=previous.placement
        if previous and same
        else PlacementTable(inventory, (*inventory.gpus, *departed)),
    )
