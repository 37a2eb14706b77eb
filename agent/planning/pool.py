"""The node's pool of DRA devices, from a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType

from msgspec import Struct, field
from msgspec.structs import replace

from agent.ledger.ledger import Ledger
from agent.model.inventory import Gpu
from agent.model.mig import GpuInstance
from agent.model.mig_instance import MigInstance, mig_instances
from agent.planning.dra_cells import (
    CellMembers,
    cell_device,
    cell_with,
    cells_of,
    node_consumption,
    node_counters,
)
from agent.planning.dra_devices import (
    CounterSet,
    DraDevice,
    ExistingInstance,
    NewInstance,
    NicFunction,
    Offering,
    Subject,
    WholeGpus,
    device_name,
    gpu_device,
)
from agent.planning.dra_doors import dra_gpus
from agent.planning.dra_mig import (
    OnDemand,
    counter_set,
    counter_set_name,
    foreign_instances,
    instance_device,
    new_instances,
    rooms,
)
from agent.planning.dra_order import listed_order
from agent.planning.dra_shares import with_shares
from agent.planning.lost_devices import lost_device
from agent.planning.mig_room import table_of
from agent.planning.snapshot import Snapshot
from agent.planning.strategy import DISPLAY_GPUS, in_mig_mode

# The first two are NVIDIA's, which claims may tolerate.
XID_TAINT = "gpu.nvidia.com/xid"
LOST_TAINT = "gpu.nvidia.com/gpu-lost"
UNHEALTHY_TAINT = "gpu.nvidia.com/unhealthy"
STARTING = "a pod that is being started"


class Claimed(Struct, frozen=True, kw_only=True):
    """What claims have."""

    uuids: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Names of claims by the UUID of what they have to themselves."""
    devices: Mapping[str, Subject] = field(default_factory=lambda: MappingProxyType({}))
    """Every device that a claim has, by name."""
    addresses: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Where its GPUs were on the PCI bus, by UUID."""
    admin_only: frozenset[str] = frozenset()
    """Devices that claims have beside others only (``adminAccess``), by name."""


class GpuPool(Struct, frozen=True, kw_only=True, dict=True):
    """Everything that decides what the pool has."""

    snapshot: Snapshot
    ledger: Ledger
    claimed: Claimed = Claimed()
    on_demand: Mapping[str, OnDemand] = field(default_factory=lambda: MappingProxyType({}))
    """GPUs of which instances are made for claims, by UUID."""

    @cached_property
    def offering(self) -> Offering:
        """What the pool has, in the order in which it is listed.

        What a container holds through the device plugin is left out until it ends, unless a
        claim has it as well: an allocated device stays in the pool, also one that is lost.
        """
        listed = [
            self._judged(each)
            for each in self._devices
            if each.name in self.claimed.devices or self.held(each.subject) is None
        ]
        return Offering(
            devices=tuple(listed),
            counter_sets=self._counter_sets(listed),
            allocated=frozenset(self.claimed.devices),
        )

    @cached_property
    def subjects(self) -> Mapping[str, Subject]:
        """What the names of devices stand for, also of those that are not listed now.

        Without the devices themselves, which take longer: a pod waits for this.
        """
        found: dict[str, Subject] = {
            device_name(uuid): WholeGpus(gpus=(uuid,)) for uuid in self._can_be_whole
        }
        found |= {each.name: WholeGpus(gpus=each.gpus) for each in self._cells}
        for gpu in self.gpus.values():
            foreign = self._foreign(gpu)
            found |= {
                device_name(each.uuid): ExistingInstance(gpu=gpu.uuid, uuid=each.uuid)
                for each in _made(gpu, foreign)
            }
            if (on_demand := self._dividable.get(gpu.uuid)) is not None:
                found |= {room.name: room.subject for room in rooms(gpu, on_demand, foreign)}
        return found

    @cached_property
    def health(self) -> Mapping[str, str | None]:
        """What is wrong with each device that there is, by name; None with those that are well."""
        return {
            each.name: self._reason(each.subject)
            for each in self._devices
            if not isinstance(each.subject, NewInstance) or each.name in self.claimed.devices
        }

    def fault(self, subject: Subject) -> str | None:
        """Return why a subject must not be given, whatever claims have; None where it may."""
        return self.illness(subject) or self.held(subject)

    def illness(self, subject: Subject) -> str | None:
        """Return what is wrong with a subject; None where nothing is."""
        why = self._reason(subject)
        return None if why is None else f"it is unhealthy: {why}"

    def reason(self, uuid: str) -> str | None:
        """Return what is wrong with a GPU or a MigInstance; None where nothing is."""
        snapshot = self.snapshot
        instance = snapshot.instances.get(uuid)
        gpu = instance.parent.uuid if instance else uuid
        absent = snapshot.inventory.gpu(gpu) is None
        return (
            snapshot.health.reason(gpu)
            or snapshot.health.reason(uuid)
            or ("the driver no longer lists it" if absent else None)
            or snapshot.changing.get(gpu)
        )

    @cached_property
    def gpus(self) -> Mapping[str, Gpu]:
        """The GPUs that are given through DRA, by UUID."""
        snapshot = self.snapshot
        known = {gpu.uuid: gpu for gpu in (*snapshot.inventory.gpus, *snapshot.departed)}
        through = dra_gpus(snapshot.config.plumbline, known.values())
        claimed = {uuid for each in self.claimed.devices.values() for uuid in gpus_of(each)}
        return {
            uuid: gpu
            for uuid, gpu in known.items()
            if gpu.name not in DISPLAY_GPUS and (uuid in through or uuid in claimed)
        }

    @cached_property
    def _dividable(self) -> Mapping[str, OnDemand]:
        return {
            uuid: each
            for uuid, each in self.on_demand.items()
            if uuid in self.gpus and each.may_be_divided(in_mig_mode=in_mig_mode(self.gpus[uuid]))
        }

    @cached_property
    def _devices(self) -> tuple[DraDevice, ...]:
        """Everything that could be listed, in that order."""
        there = (*self._whole_devices, *self._cell_devices, *self._instances)
        names = {each.name for each in there}
        lost = (
            replace(
                lost_device(name, subject, self.claimed.addresses),
                consumes=self._consumed_by(subject),
            )
            for name, subject in sorted(self.claimed.devices.items())
            if name not in names | self.claimed.admin_only
        )
        return (*there, *lost)

    def _consumed_by(self, subject: Subject) -> Mapping[str, Mapping[str, int]]:
        """Return what a device draws on that is whole no more: the GPUs of it that are there."""
        there = [uuid for uuid in gpus_of(subject) if uuid in self.gpus]
        match subject:
            case WholeGpus(gpus=(_,)) if there:
                return self._consumed_whole(self.gpus[there[0]])
            case WholeGpus() if there:
                return node_consumption({uuid: self._parts(self.gpus[uuid]) for uuid in there})
            case _:
                return {}

    @cached_property
    def _whole(self) -> tuple[str, ...]:
        """GPUs that can be given as a whole, in the order in which they are listed."""
        whole = self._can_be_whole
        taken = {uuid for each in self.claimed.devices.values() for uuid in gpus_of(each)}
        free = [uuid for uuid in whole if uuid not in taken and self.fault_of_gpu(uuid) is None]
        return listed_order(self.snapshot.placement, whole, free)

    def fault_of_gpu(self, uuid: str) -> str | None:
        """Return why a GPU must not be given as a whole."""
        return self.fault(WholeGpus(gpus=(uuid,)))

    @cached_property
    def _can_be_whole(self) -> tuple[str, ...]:
        """GPUs that can be given as a whole."""
        return tuple(
            uuid
            for uuid, gpu in self.gpus.items()
            if not in_mig_mode(gpu)
            or (
                (uuid in self._dividable and self._dividable[uuid].live_mode)
                and not self._foreign(gpu)
            )
        )

    @cached_property
    def _whole_devices(self) -> tuple[DraDevice, ...]:
        snapshot = self.snapshot
        groups = nvlink_groups(snapshot)
        shares = snapshot.config.plumbline.dra.shares
        return tuple(
            replace(
                with_shares(
                    gpu_device(
                        self.gpus[uuid],
                        snapshot.inventory,
                        nvlink_group=groups.get(uuid),
                        rail=snapshot.rails.gpus.get(uuid),
                    ),
                    shares,
                ),
                consumes=self._consumed_whole(self.gpus[uuid]),
            )
            for uuid in self._whole
        )

    @cached_property
    def _cells(self) -> tuple[CellMembers, ...]:
        kinds = self.snapshot.config.plumbline.dra.cells
        tiled = cells_of(self.snapshot.placement, sorted(self._can_be_whole), kinds)
        names = {each.name for each in tiled}
        # A claim may have one that would be made otherwise now.
        claimed = (
            cell_with(subject.gpus)
            for name, subject in self.claimed.devices.items()
            if isinstance(subject, WholeGpus)
            and len(subject.gpus) > 1
            and name not in names
            and self.gpus.keys() >= set(subject.gpus)
        )
        return (*tiled, *claimed)

    @cached_property
    def _cell_devices(self) -> tuple[DraDevice, ...]:
        found = []
        for cell in self._cells:
            gpus = [self.gpus[uuid] for uuid in cell.gpus]
            parts = {uuid: self._parts(self.gpus[uuid]) for uuid in cell.gpus}
            device = cell_device(cell, gpus, self.snapshot.inventory)
            found.append(replace(device, consumes=node_consumption(parts)))
        return tuple(found)

    @cached_property
    def _instances(self) -> tuple[DraDevice, ...]:
        """Instances, those of GPUs that are divided already first, then from the end of the order
        in which whole GPUs are taken.
        """
        order = {uuid: i for i, uuid in enumerate(reversed(self._whole))}
        gpus = sorted(
            self.gpus.values(),
            key=lambda gpu: (not mig_instances(gpu), order.get(gpu.uuid, -1), gpu.uuid),
        )
        return tuple(each for gpu in gpus for each in self._instances_of(gpu))

    def _instances_of(self, gpu: Gpu) -> Iterator[DraDevice]:
        on_demand = self._dividable.get(gpu.uuid)
        foreign = self._foreign(gpu)
        inventory = self.snapshot.inventory
        for instance in _made(gpu, foreign):
            yield instance_device(instance, inventory)
        if on_demand is not None:
            for device in new_instances(gpu, on_demand, inventory, foreign):
                subject = device.subject
                size = subject.placement.size if isinstance(subject, NewInstance) else 0
                yield replace(
                    device,
                    consumes={**device.consumes, **self._of_node({gpu.uuid: size})},
                )

    def _foreign(self, gpu: Gpu) -> tuple[GpuInstance, ...]:
        ours = {
            (each.profile, each.placement.start): each
            for each in self.claimed.devices.values()
            if isinstance(each, NewInstance) and each.gpu == gpu.uuid
        }
        return foreign_instances(gpu, ours)

    @cached_property
    def _in_cells(self) -> frozenset[str]:
        """GPUs that are in a cell, also in one of which others are lost."""
        cells = [cell.gpus for cell in self._cells]
        cells += [
            subject.gpus
            for subject in self.claimed.devices.values()
            if isinstance(subject, WholeGpus) and len(subject.gpus) > 1
        ]
        return frozenset(uuid for gpus in cells for uuid in gpus if uuid in self.gpus)

    def _consumed_whole(self, gpu: Gpu) -> Mapping[str, Mapping[str, int]]:
        own = {}
        if (on_demand := self._dividable.get(gpu.uuid)) is not None:
            own[counter_set_name(gpu.uuid)] = counter_set(gpu, on_demand, ()).counters
        return {**own, **self._of_node({gpu.uuid: self._parts(gpu)})}

    def _of_node(self, parts: Mapping[str, int]) -> Mapping[str, Mapping[str, int]]:
        mine = {uuid: n for uuid, n in parts.items() if uuid in self._in_cells}
        return node_consumption(mine) if mine else {}

    def _parts(self, gpu: Gpu) -> int:
        """Return into how many parts a GPU can be divided, as cells count."""
        on_demand = self._dividable.get(gpu.uuid)
        return 1 if on_demand is None else table_of(on_demand.profiles).axis

    def _counter_sets(self, listed: Iterable[DraDevice]) -> tuple[CounterSet, ...]:
        used = {name for each in listed for name in each.consumes}
        sets = [
            counter_set(self.gpus[uuid], each, self._foreign(self.gpus[uuid]))
            for uuid, each in sorted(self._dividable.items())
        ]
        if self._in_cells:
            whole = {uuid: self._parts(self.gpus[uuid]) for uuid in sorted(self._in_cells)}
            sets.append(node_counters(whole))
        return tuple(each for each in sets if each.name in used)

    def _judged(self, device: DraDevice) -> DraDevice:
        taints = self.taints(device.subject)
        return replace(device, taints=taints) if taints else device

    def taints(self, subject: Subject) -> Mapping[str, str]:
        """Return what is wrong with a subject as taints: values by key."""
        found: dict[str, str] = {}
        for uuid in self._looked_at(subject):
            found |= self._taints(uuid)
        return found

    def _taints(self, uuid: str) -> dict[str, str]:
        """Return what is wrong with a GPU or a MigInstance as taints."""
        if self.reason(uuid) is None:
            return {}
        snapshot = self.snapshot
        instance = snapshot.instances.get(uuid)
        both = {uuid, instance.parent.uuid if instance else uuid}
        xids = [snapshot.health.xids[each] for each in both if each in snapshot.health.xids]
        lost = any(
            snapshot.inventory.gpu(each) is None for each in both - snapshot.instances.keys()
        )
        taints = {XID_TAINT: str(max(xids))} if xids else {}
        if lost:
            taints[LOST_TAINT] = "true"
        return taints or {UNHEALTHY_TAINT: "true"}

    def _reason(self, subject: Subject) -> str | None:
        found = (self.reason(uuid) for uuid in self._looked_at(subject))
        return next((why for why in found if why is not None), None)

    def _looked_at(self, subject: Subject) -> tuple[str, ...]:
        """Return whose health decides: GPUs, or a MigInstance with its GPU.

        While the driver does not say which instances a GPU has, none of them is lost.
        """
        if not isinstance(subject, ExistingInstance):
            return gpus_of(subject)
        gpu = self.snapshot.inventory.gpu(subject.gpu)
        if gpu is not None and gpu.partition is None and (gpu.mig is None or gpu.mig.current):
            return gpus_of(subject)
        return (subject.uuid,)

    def held(self, subject: Subject) -> str | None:
        """Return by whom a subject is held through the device plugin."""
        for uuid in self._in_the_way(subject):
            for each in self.ledger.pods_with(uuid):
                return (
                    f"it is held as {each.resource} by {each.holder or STARTING}, through the"
                    " device plugin"
                )
        return None

    def _in_the_way(self, subject: Subject) -> Iterator[str]:
        yield from gpus_of(subject)
        match subject:
            case WholeGpus(gpus=gpus):
                yield from (each.uuid for gpu in gpus for each in self._parts_of(gpu))
            case ExistingInstance(uuid=uuid):
                yield uuid
            case NewInstance(gpu=gpu, placement=placement):
                yield from (
                    each.uuid for each in self._parts_of(gpu) if each.placement.overlaps(placement)
                )

    def _parts_of(self, gpu: str) -> Iterator[MigInstance]:
        return (each for each in self.snapshot.instances.values() if each.parent.uuid == gpu)


def _made(gpu: Gpu, around: Iterable[GpuInstance]) -> Iterator[MigInstance]:
    """Yield the MigInstances of a GPU that lie in these GPU instances."""
    ids = {each.id for each in around}
    return (each for each in mig_instances(gpu) if each.gpu_instance in ids)


def gpus_of(subject: Subject) -> tuple[str, ...]:
    """Return the GPUs that a subject is, or is a part of."""
    match subject:
        case WholeGpus(gpus=gpus):
            return gpus
        case ExistingInstance(gpu=gpu) | NewInstance(gpu=gpu):
            return (gpu,)
        case NicFunction():
            return ()


def nvlink_groups(snapshot: Snapshot) -> dict[str, int]:
    """Return a number for each GPU that NVLink joins to others, the same within a clique."""
    model = snapshot.placement.model
    cliques = dict(zip(model.uuids, model.clique, strict=False))
    sizes = list(cliques.values())
    return {uuid: number for uuid, number in cliques.items() if sizes.count(number) > 1}
