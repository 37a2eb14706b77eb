"""The Catalog: what the node offers, as resources with their devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType

from msgspec import Struct

from agent.config.schema import Flags
from agent.config.sharing import Resources, Sharing
from agent.ledger.ledger import CLAIMED, Allocation, Ledger
from agent.model.inventory import Gpu, Inventory
from agent.model.mig_instance import Device, MigInstance, parent_of
from agent.planning.health import Health
from agent.planning.mps import NOTHING_SERVED, MpsSet, Served, plan_sets
from agent.planning.reasons import Faults, Holdings
from agent.planning.sharing import SharedDevices, share, with_replicas
from agent.planning.strategy import (
    GPU_RESOURCE,
    Former,
    LeftOut,
    Named,
    Verdict,
    instance_resource,
    judge,
)

DESTROYED = "it was destroyed"
THROUGH_DRA = "it is given through DRA now"
RESHARED = "its GPU is shared otherwise now"


class OfferedDevice(Struct, frozen=True, kw_only=True):
    """One device of a resource, as the kubelet will know it."""

    id: str
    gpu: str
    """UUID of the physical GPU behind it."""
    reason: str | None
    """Why it must not be handed out; None when it may be."""
    numa_nodes: tuple[int, ...]
    """CPU NUMA nodes only; empty when unknown, so that the kubelet takes it from anywhere."""

    @property
    def healthy(self) -> bool:
        """Return True when it may be handed out."""
        return self.reason is None

    @property
    def is_share(self) -> bool:
        """Return True for a part of a GPU: a Replica, or a MigInstance."""
        return self.id != self.gpu


class Catalog(Struct, frozen=True, kw_only=True, dict=True):
    """Resource names and their devices, both in stable order."""

    resources: Mapping[str, tuple[OfferedDevice, ...]]
    left_out: tuple[LeftOut, ...] = ()
    """GPUs of which nothing is offered, with the reasons."""
    shared: SharedDevices = SharedDevices(by_device={})
    """How devices are shared, and what does not fit this node of what was asked for."""
    mps_sets: tuple[MpsSet, ...] = ()
    """The MPS daemons that this takes."""
    withheld: frozenset[str] = frozenset()
    """UUIDs of devices that a container holds and the kubelet takes for free: under a resource
    name that they had before, as a part or as the whole, or because the kubelet has forgotten
    it."""

    def find(self, resource: str, device: str) -> OfferedDevice | None:
        """Return one device of a resource by id."""
        return self._by_id.get(resource, {}).get(device)

    @cached_property
    def _by_id(self) -> Mapping[str, Mapping[str, OfferedDevice]]:
        return {
            resource: {device.id: device for device in devices}
            for resource, devices in self.resources.items()
        }

    def is_divided(self, resource: str) -> bool:
        """Return True for a resource that has shares: replicas of GPUs, or MIG instances.

        What can be given decides: beside it may stand what only containers still hold.
        """
        return resource in self._divided

    def parents(self, resource: str) -> Mapping[str, str]:
        """Return the GPU behind every device of a resource."""
        return self._parents.get(resource, {})

    # What calls of the kubelet need of a thousand Replicas, worked out once.

    @cached_property
    def whole(self) -> tuple[str, ...]:
        """Every GPU that may be handed out as a whole, whatever it is called."""
        return tuple(
            device.id
            for devices in self.resources.values()
            for device in devices
            if not device.is_share and device.healthy
        )

    @cached_property
    def _divided(self) -> frozenset[str]:
        found = set()
        for resource, devices in self.resources.items():
            healthy = [device for device in devices if device.healthy]
            if any(each.is_share for each in healthy or devices):
                found.add(resource)
        return frozenset(found)

    @cached_property
    def _parents(self) -> Mapping[str, Mapping[str, str]]:
        return {
            resource: {device.id: device.gpu for device in devices}
            for resource, devices in self.resources.items()
        }


def build_catalog(  # noqa: PLR0913 - everything that decides what is offered
    inventory: Inventory,
    health: Health,
    *,
    flags: Flags,
    names: Resources = Resources(),  # noqa: B008 - a value
    sharing: Sharing | None = None,
    ledger: Ledger | None = None,
    departed: Iterable[Gpu] = (),
    destroyed: Iterable[MigInstance] = (),
    changing: Mapping[str, str] = MappingProxyType({}),
    served: Served = NOTHING_SERVED,
    through_dra: frozenset[str] | None = None,
) -> Catalog:
    """Return what the node offers.

    A device that ``flags`` leave no way to give to a container is unhealthy while they are in
    force: offered as healthy, every pod the kubelet gives it to would fail its admission.

    ``names`` are the configuration's ``resources``; ``sharing`` says which devices are
    offered as Replicas. What a container holds of a device that is shared otherwise since stays
    listed as unhealthy until it ends, and the device with it. A device that a container holds
    without the kubelet counting it is unhealthy, lest it be given away a second time: one held
    under the name it had before, to the kubelet another device, one that it has forgotten, a GPU of
    which a part is held, a part of a GPU that is held.

    ``departed`` are GPUs seen earlier that no longer answer: they stay listed as unhealthy,
    because a device that vanishes from the list while a pod holds it confuses the kubelet's
    accounting, and because an operator should see it missing rather than never there.
    ``destroyed`` are MigInstances seen earlier; they come and go by intention, and stay listed
    only while a container holds them.

    ``changing`` are GPUs that are being divided anew, by UUID, each with the reason: unhealthy
    until that is over, which keeps the kubelet from choosing them, and pods where they are.
    ``served`` says which GPUs MPS daemons serve: what is to be shared through MPS is unhealthy
    until one does, and what is not as long as one does.

    ``through_dra`` are GPUs that are given through DRA, None where none ever are: of these the
    device plugin keeps only what containers still hold.
    """
    gone, ended = tuple(departed), tuple(destroyed)
    wanted, known = sharing or Sharing(), ledger or Ledger()
    judged = judge((*inventory.gpus, *gone), flags.mig_strategy, names)
    apart = through_dra or frozenset()
    named = [
        each
        for each in judged
        if isinstance(each, Named) and parent_of(each.device).uuid not in apart
    ]
    shares = share(named, wanted, inventory.cuda_version)
    verdicts = list(with_replicas(judged, shares))
    verdicts = [_through_dra(each, apart) for each in verdicts]
    absent = frozenset(gpu.uuid for gpu in gone)
    faults = Faults(health=health, flags=flags, absent=absent, changing=changing)
    offers = _Offers(inventory, faults, Holdings(known, ended), shares, served)
    for verdict in (*verdicts, *_destroyed(ended, flags, names)):
        offers.take_in(verdict)
    for allocation in _otherwise_shared(known, shares, offers.resources):
        offers.keep(allocation)
    # Without names of its own, a node without GPUs says that it has none.
    bare = names.gpus or through_dra is not None
    resources = offers.resources if bare else {GPU_RESOURCE: [], **offers.resources}
    return Catalog(
        resources=_in_order(resources),
        left_out=tuple(verdict for verdict in verdicts if isinstance(verdict, LeftOut)),
        shared=shares,
        mps_sets=plan_sets(inventory.gpus, shares.by_device),
        withheld=frozenset(offers.withheld),
    )


class _Offers:
    """Gathers what is offered, device by device."""

    def __init__(
        self,
        inventory: Inventory,
        faults: Faults,
        holdings: Holdings,
        shares: SharedDevices,
        served: Served,
    ) -> None:
        self.resources: dict[str, list[OfferedDevice]] = {}
        self.withheld: set[str] = set()
        self._inventory = inventory
        self._faults = faults
        self._holdings = holdings
        self._shares = shares
        self._served = served
        self._reasons: dict[str, str | None] = {}
        self._devices: dict[str, Device] = {}

    def take_in(self, verdict: Verdict) -> None:
        match verdict:
            case Named(device=device, resource=resource, id=id_):
                self._offer(device, resource, id_, self._fault(device) or self._held(verdict))
            case Former(device=device, resource=resource, reason=reason):
                self._devices[device.uuid] = device
                if self._holdings.under(device, resource):
                    self._offer(device, resource, device.uuid, reason)
            case LeftOut():
                pass

    def keep(self, allocation: Allocation) -> None:
        """List what a container holds and nobody else is offered any more."""
        device = self._devices.get(allocation.gpu)
        if device is not None:
            self._offer(device, allocation.resource, allocation.device, RESHARED)

    def _fault(self, device: Device) -> str | None:
        """Return what is wrong with a device: the same for all of its Replicas."""
        if device.uuid not in self._reasons:
            self._reasons[device.uuid] = self._faults.of(device) or self._service(device)
            self._devices[device.uuid] = device
        return self._reasons[device.uuid]

    def _service(self, device: Device) -> str | None:
        share = self._shares.by_device.get(device.uuid)
        by_mps = share is not None and share.by_mps
        return self._served.reason(parent_of(device).uuid, by_mps=by_mps)

    def _held(self, named: Named) -> str | None:
        held = self._holdings.unknown_to_kubelet(named.device, named.resource, named.id)
        if held is not None:
            self.withheld.add(named.device.uuid)
        return held

    def _offer(self, device: Device, resource: str, id_: str, reason: str | None) -> None:
        offer = _offer(device, self._inventory, reason=reason, id_=id_)
        self.resources.setdefault(resource, []).append(offer)


def _through_dra(verdict: Verdict, apart: frozenset[str]) -> Verdict:
    if isinstance(verdict, Named) and parent_of(verdict.device).uuid in apart:
        return Former(device=verdict.device, resource=verdict.resource, reason=THROUGH_DRA)
    return verdict


def _otherwise_shared(
    ledger: Ledger, shares: SharedDevices, resources: Mapping[str, Iterable[OfferedDevice]]
) -> list[Allocation]:
    """Return what is held of devices that were shared otherwise when it was given."""
    offered = {(name, each.id) for name, devices in resources.items() for each in devices}
    return [
        each
        for each in ledger.every
        if each.resource != CLAIMED
        and (each.resource, each.device) not in offered
        and (each.device != each.gpu or each.gpu in shares.by_device)
    ]


def _in_order(
    resources: Mapping[str, Iterable[OfferedDevice]],
) -> dict[str, tuple[OfferedDevice, ...]]:
    return {
        name: tuple(sorted(devices, key=lambda device: device.id))
        for name, devices in sorted(resources.items())
    }


def _destroyed(
    instances: Iterable[MigInstance], flags: Flags, names: Resources
) -> Iterator[Former]:
    for each in instances:
        resource = instance_resource(each, flags.mig_strategy, names)
        if resource is not None:
            yield Former(device=each, resource=resource, reason=DESTROYED)


def _offer(device: Device, inventory: Inventory, *, reason: str | None, id_: str) -> OfferedDevice:
    with_cpus = {node.id for node in inventory.numa_nodes if node.cpus}
    gpu = parent_of(device)
    known = gpu.numa_node is not None and (gpu.numa_node in with_cpus or not with_cpus)
    return OfferedDevice(
        id=id_,
        gpu=gpu.uuid,
        reason=reason,
        numa_nodes=(gpu.numa_node,) if known and gpu.numa_node is not None else (),
    )
