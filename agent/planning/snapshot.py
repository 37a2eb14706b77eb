"""The Snapshot: one generation of everything an RPC may ask about, swapped in whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.config.schema import Config
from agent.ledger.ledger import Ledger
from agent.model.inventory import Gpu, Inventory
from agent.planning.catalog import ABSENT, Catalog, build_catalog
from agent.planning.health import Health
from agent.planning.placement import PlacementTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Configuration, Inventory, Health, Catalog and tables that belong together."""

    generation: int
    config: Config
    inventory: Inventory
    departed: tuple[Gpu, ...]
    """GPUs of earlier generations that no longer answer."""
    health: Health
    ledger: Ledger
    catalog: Catalog
    placement: PlacementTable

    def gpu(self, uuid: str) -> Gpu | None:
        """Return a GPU by UUID, answering or not."""
        present = self.inventory.gpu(uuid)
        return present or next((gpu for gpu in self.departed if gpu.uuid == uuid), None)

    def with_state(self, health: Health, ledger: Ledger) -> Snapshot:
        """Return the same look at the node with another health and ledger."""
        return replace(
            self,
            health=health,
            ledger=ledger,
            catalog=_catalog(self.config, self.inventory, health, ledger, self.departed),
        )


def build_snapshot(
    config: Config,
    inventory: Inventory,
    health: Health,
    *,
    previous: Snapshot | None,
    ledger: Ledger | None = None,
) -> Snapshot:
    """Return the generation after ``previous`` for a fresh look at the node."""
    present = {gpu.uuid for gpu in inventory.gpus}
    seen = (*previous.inventory.gpus, *previous.departed) if previous else ()
    departed = tuple(gpu for gpu in seen if gpu.uuid not in present)
    for gpu in departed:
        health = health.marked(gpu.uuid, _absence(gpu, inventory))
    same = previous is not None and previous.inventory == inventory
    return Snapshot(
        generation=previous.generation + 1 if previous else 1,
        config=config,
        inventory=inventory,
        departed=departed,
        health=health,
        ledger=ledger or Ledger(),
        catalog=_catalog(config, inventory, health, ledger or Ledger(), departed),
        placement=previous.placement
        if previous and same
        else PlacementTable(inventory, (*inventory.gpus, *departed)),
    )


def _catalog(
    config: Config,
    inventory: Inventory,
    health: Health,
    ledger: Ledger,
    departed: tuple[Gpu, ...],
) -> Catalog:
    return build_catalog(
        inventory,
        health,
        flags=config.flags,
        names=config.resources.gpus,
        ledger=ledger,
        departed=departed,
    )


def _absence(gpu: Gpu, inventory: Inventory) -> str:
    for missing in inventory.unavailable:
        if gpu.uuid == missing.uuid or gpu.address == missing.address:
            return missing.reason
    # The driver would not say which GPU failed: the index it had is the best clue.
    return next(
        (m.reason for m in inventory.unavailable if m.index == gpu.index),
        ABSENT,
    )
