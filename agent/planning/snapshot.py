"""The Snapshot: one generation of everything an RPC may ask about, swapped in whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from agent.config.own import ServingMode
from agent.config.schema import Config
from agent.ledger.ledger import Ledger
from agent.model.inventory import Gpu, Inventory, Nic
from agent.model.mig_instance import Device, MigInstance, mig_instances
from agent.planning.catalog import Catalog, build_catalog
from agent.planning.dra_doors import dra_gpus
from agent.planning.health import Health
from agent.planning.mps import NOTHING_SERVED, Served
from agent.planning.placement import PlacementTable
from agent.planning.rails import RailNumbers, carries_rdma, rail_numbers
from agent.planning.reasons import ABSENT


class Snapshot(Struct, frozen=True, kw_only=True):
    """Configuration, Inventory, Health, Catalog and tables that belong together."""

    generation: int
    config: Config
    inventory: Inventory
    departed: tuple[Gpu, ...]
    """GPUs of earlier generations that no longer answer."""
    departed_nics: tuple[Nic, ...]
    """RDMA functions of earlier generations that are no more."""
    rails: RailNumbers
    instances: Mapping[str, MigInstance]
    """MigInstances of the GPUs, answering or not, by UUID."""
    destroyed: tuple[MigInstance, ...]
    """MigInstances of earlier generations that are no more, as far as they may be held."""
    health: Health
    ledger: Ledger
    changing: Mapping[str, str]
    """GPUs that are being divided anew, by UUID, with the reason."""
    served: Served
    """Which GPUs MPS daemons serve."""
    catalog: Catalog
    placement: PlacementTable

    def gpu(self, uuid: str) -> Gpu | None:
        """Return a GPU by UUID, answering or not."""
        present = self.inventory.gpu(uuid)
        return present or next((gpu for gpu in self.departed if gpu.uuid == uuid), None)

    def device(self, uuid: str) -> Device | None:
        """Return a GPU or a MigInstance by UUID, answering or not."""
        return self.instances.get(uuid) or self.gpu(uuid)

    def instances_at(
        self, gpu: str, gpu_instance: int, compute_instance: int | None
    ) -> tuple[MigInstance, ...]:
        """Return the MigInstances of a GPU by the driver's numbers; None stands for every one."""
        return tuple(
            each
            for each in self.instances.values()
            if each.parent.uuid == gpu
            and each.gpu_instance == gpu_instance
            and compute_instance in {None, each.compute_instance}
        )

    def with_state(
        self,
        health: Health,
        ledger: Ledger,
        *,
        changing: Mapping[str, str] | None = None,
        served: Served | None = None,
    ) -> Snapshot:
        """Return the same look at the node with another health and ledger.

        ``changing`` and ``served`` None leave them as they are.
        """
        return _with_catalog(
            replace(
                self,
                health=health,
                ledger=ledger,
                changing=self.changing if changing is None else changing,
                served=self.served if served is None else served,
            )
        )

    def with_config(self, config: Config) -> Snapshot:
        """Return the same look at the node with another configuration."""
        return _with_catalog(replace(self, config=config))


def build_snapshot(
    config: Config,
    inventory: Inventory,
    health: Health,
    *,
    previous: Snapshot | None,
    ledger: Ledger | None = None,
    changing: Mapping[str, str] = MappingProxyType({}),
    served: Served = NOTHING_SERVED,
) -> Snapshot:
    """Return the generation after ``previous`` for a fresh look at the node."""
    present = {gpu.uuid for gpu in inventory.gpus}
    seen = (*previous.inventory.gpus, *previous.departed) if previous else ()
    departed = tuple(gpu for gpu in seen if gpu.uuid not in present)
    for gpu in departed:
        health = health.gone(gpu.uuid, _absence(gpu, inventory))
    instances = _instances((*inventory.gpus, *departed))
    same = previous is not None and previous.inventory == inventory
    bare = Snapshot(
        generation=previous.generation + 1 if previous else 1,
        config=config,
        inventory=inventory,
        departed=departed,
        departed_nics=_departed_nics(previous, inventory) if previous else (),
        rails=rail_numbers(inventory, previous.rails if previous else None),
        instances=instances,
        destroyed=_destroyed(previous, instances) if previous else (),
        health=health,
        ledger=ledger or Ledger(),
        changing=changing,
        served=served,
        catalog=Catalog(resources={}),
        placement=previous.placement
        if previous and same
        else PlacementTable(inventory, (*inventory.gpus, *departed)),
    )
    return _with_catalog(bare)


def _with_catalog(snapshot: Snapshot) -> Snapshot:
    return replace(
        snapshot,
        catalog=build_catalog(
            snapshot.inventory,
            snapshot.health,
            flags=snapshot.config.flags,
            names=snapshot.config.resources,
            sharing=snapshot.config.sharing,
            ledger=snapshot.ledger,
            departed=snapshot.departed,
            destroyed=snapshot.destroyed,
            changing=snapshot.changing,
            served=snapshot.served,
            through_dra=_through_dra(snapshot),
        ),
    )


def _through_dra(snapshot: Snapshot) -> frozenset[str] | None:
    plumbline = snapshot.config.plumbline
    if plumbline.mode is ServingMode.DEVICE_PLUGIN:
        return None
    return dra_gpus(plumbline, (*snapshot.inventory.gpus, *snapshot.departed))


def _instances(gpus: Iterable[Gpu]) -> Mapping[str, MigInstance]:
    return MappingProxyType({each.uuid: each for gpu in gpus for each in mig_instances(gpu)})


def _departed_nics(previous: Snapshot, now: Inventory) -> tuple[Nic, ...]:
    present = {nic.address for nic in now.nics if carries_rdma(nic)}
    seen = {
        nic.address: nic
        for nic in (*previous.departed_nics, *previous.inventory.nics)
        if carries_rdma(nic) and nic.address is not None
    }
    return tuple(nic for address, nic in seen.items() if address not in present)


def _destroyed(previous: Snapshot, now: Mapping[str, MigInstance]) -> tuple[MigInstance, ...]:
    """Return the MigInstances that are no more.

    One that nobody held by the generation after its last is forgotten: GPUs may be divided anew
    as often as anybody likes.
    """
    held = previous.ledger.held
    known = {each.uuid: each for each in previous.destroyed if each.uuid in held}
    known |= previous.instances
    return tuple(each for uuid, each in known.items() if uuid not in now)


def _absence(gpu: Gpu, inventory: Inventory) -> str:
    for missing in inventory.unavailable:
        if gpu.uuid == missing.uuid or gpu.address == missing.address:
            return missing.reason
    # The driver would not say which GPU failed: the index it had is the best clue.
    return next(
        (m.reason for m in inventory.unavailable if m.index == gpu.index),
        ABSENT,
    )
