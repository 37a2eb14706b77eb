"""The Catalog: what the node offers, as resources with their devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from agent.config.schema import Flags
from agent.config.sharing import Resource
from agent.ledger.ledger import Ledger
from agent.model.inventory import Gpu, Inventory
from agent.model.mig_instance import Device, MigInstance, parent_of
from agent.planning.health import Health
from agent.planning.reasons import Faults, Holdings
from agent.planning.strategy import (
    GPU_RESOURCE,
    Former,
    LeftOut,
    Named,
    instance_resource,
    judge,
)

DESTROYED = "it was destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedDevice:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Resource names and their devices, both in stable order."""

    resources: Mapping[str, tuple[OfferedDevice, ...]]
    left_out: tuple[LeftOut, ...] = ()
    """GPUs of which nothing is offered, with the reasons."""
    withheld: frozenset[str] = frozenset()
    """UUIDs of devices that a container holds and the kubelet takes for free: under a resource
    name that they had before, as a part or as the whole, or because the kubelet has forgotten
    it."""

    def find(self, resource: str, device: str) -> OfferedDevice | None:
        """Return one device of a resource by id."""
        return next((d for d in self.resources.get(resource, ()) if d.id == device), None)

    def is_divided(self, resource: str) -> bool:
        """Return True for a resource of shares: replicas of GPUs, or MIG instances.

        What can be given decides: beside it may stand what only containers still hold.
        """
        devices = self.resources.get(resource, ())
        first = next((device for device in devices if device.healthy), None)
        return any(each.is_share for each in ((first,) if first else devices))

    def parents(self, resource: str) -> dict[str, str]:
        """Return the GPU behind every device of a resource."""
        return {device.id: device.gpu for device in self.resources.get(resource, ())}


def build_catalog(
    inventory: Inventory,
    health: Health,
    *,
    flags: Flags,
    names: Sequence[Resource] = (),
    ledger: Ledger | None = None,
    departed: Iterable[Gpu] = (),
    destroyed: Iterable[MigInstance] = (),
    changing: Mapping[str, str] = MappingProxyType({}),
) -> Catalog:
    """Return what the node offers.

    A device that ``flags`` leave no way to give to a container is unhealthy while they are in
    force: offered as healthy, every pod the kubelet gives it to would fail its admission.

    ``names`` are the configuration's ``resources.gpus``. A device that a container holds without
    the kubelet counting it is unhealthy, lest it be given away a second time: one held under
    the name it had before, to the kubelet another device, one that it has forgotten, a GPU of
    which a part is held, a part of a GPU that is held.

    ``departed`` are GPUs seen earlier that no longer answer: they stay listed as unhealthy,
    because a device that vanishes from the list while a pod holds it confuses the kubelet's
    accounting, and because an operator should see it missing rather than never there.
    ``destroyed`` are MigInstances seen earlier; they come and go by intention, and stay listed
    only while a container holds them.

    ``changing`` are GPUs that are being divided anew, by UUID, each with the reason: unhealthy
    until that is over, which keeps the kubelet from choosing them, and pods where they are.
    """
    gone, ended = tuple(departed), tuple(destroyed)
    verdicts = judge((*inventory.gpus, *gone), flags.mig_strategy, names)
    absent = frozenset(gpu.uuid for gpu in gone)
    faults = Faults(health=health, flags=flags, absent=absent, changing=changing)
    holdings = Holdings(ledger or Ledger(), ended)
    # Without names of its own, a node without GPUs says that it has none.
    resources: dict[str, list[OfferedDevice]] = {} if names else {GPU_RESOURCE: []}
    withheld = set()
    for named in (verdict for verdict in verdicts if isinstance(verdict, Named)):
        held = holdings.unknown_to_kubelet(named.device, named.resource)
        if held is not None:
            withheld.add(named.device.uuid)
        offer = _offer(named.device, inventory, reason=faults.of(named.device) or held)
        resources.setdefault(named.resource, []).append(offer)
    formers = (verdict for verdict in verdicts if isinstance(verdict, Former))
    for former in (*formers, *_destroyed(ended, flags, names)):
        if holdings.under(former.device, former.resource):
            offer = _offer(former.device, inventory, reason=former.reason)
            resources.setdefault(former.resource, []).append(offer)
    return Catalog(
        resources=_in_order(resources),
        left_out=tuple(verdict for verdict in verdicts if isinstance(verdict, LeftOut)),
        withheld=frozenset(withheld),
    )


def _in_order(
    resources: Mapping[str, Iterable[OfferedDevice]],
) -> dict[str, tuple[OfferedDevice, ...]]:
    return {
        name: tuple(sorted(devices, key=lambda device: device.id))
        for name, devices in sorted(resources.items())
    }


def _destroyed(
    instances: Iterable[MigInstance], flags: Flags, names: Sequence[Resource]
) -> Iterator[Former]:
    for each in instances:
        resource = instance_resource(each, flags.mig_strategy, names)
        if resource is not None:
            yield Former(device=each, resource=resource, reason=DESTROYED)


def _offer(device: Device, inventory: Inventory, *, reason: str | None) -> OfferedDevice:
    with_cpus = {node.id for node in inventory.numa_nodes if node.cpus}
    gpu = parent_of(device)
    known = gpu.numa_node is not None and (gpu.numa_node in with_cpus or not with_cpus)
    return OfferedDevice(
        id=device.uuid,
        gpu=gpu.uuid,
        reason=reason,
        numa_nodes=(gpu.numa_node,) if known and gpu.numa_node is not None else (),
    )
