"""The Catalog: what the node offers, as resources with their devices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.config.schema import Flags
from agent.config.sharing import Resource, full_name
from agent.ledger.ledger import Allocation, Ledger
from agent.model.inventory import Gpu, Inventory
from agent.planning.device_list import obstacle
from agent.planning.health import Health

GPU_RESOURCE = "nvidia.com/gpu"

# The display GPU of a DGX Station: no tensor cores, never offered by any component.
DISPLAY_GPUS = frozenset({"DGX Display", "NVIDIA DGX Display"})


ABSENT = "the driver no longer lists it"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Resource names and their devices, both in stable order."""

    resources: Mapping[str, tuple[OfferedDevice, ...]]
    nameless: tuple[Gpu, ...] = ()
    """GPUs whose product fits no pattern of the configuration: they are not offered."""
    withheld: frozenset[str] = frozenset()
    """UUIDs of GPUs that a container holds and the kubelet takes for free: under a resource
    name that they had before, or because the kubelet has forgotten it."""

    def find(self, resource: str, device: str) -> OfferedDevice | None:
        """Return one device of a resource by id."""
        return next((d for d in self.resources.get(resource, ()) if d.id == device), None)

    def is_divided(self, resource: str) -> bool:
        """Return True for a resource of shares: replicas of GPUs, or MIG instances."""
        return any(device.id != device.gpu for device in self.resources.get(resource, ())[:1])

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
) -> Catalog:
    """Return what the node offers.

    A GPU that ``flags`` leave no way to give to a container is unhealthy while they are in
    force: offered as healthy, every pod the kubelet gives it to would fail its admission.

    ``names`` are the configuration's ``resources.gpus``. A GPU that a container holds without
    the kubelet counting it is unhealthy, lest it be given away a second time: one held under
    the name it had before, to the kubelet another device, or one that it has forgotten.

    ``departed`` are GPUs seen earlier that no longer answer: they stay listed as unhealthy,
    because a device that vanishes from the list while a pod holds it confuses the kubelet's
    accounting, and because an operator should see it missing rather than never there.
    """
    present = [(gpu, obstacle(gpu, flags)) for gpu in inventory.gpus]
    gone = [(gpu, ABSENT) for gpu in departed]
    # Without names of its own, a node without GPUs says that it has none.
    resources: dict[str, list[OfferedDevice]] = {} if names else {GPU_RESOURCE: []}
    nameless, withheld = [], set()
    for gpu, fault in (*present, *gone):
        resource = resource_name(gpu.name, names)
        if gpu.name in DISPLAY_GPUS:
            continue
        if resource is None:
            nameless.append(gpu)
            continue
        held = ledger.held_unknown_to_kubelet(gpu.uuid, resource) if ledger else None
        if held is not None:
            withheld.add(gpu.uuid)
        reason = health.reason(gpu.uuid) or fault or _held(held)
        resources.setdefault(resource, []).append(_offer(gpu, inventory, reason=reason))
    return Catalog(
        resources={
            name: tuple(sorted(devices, key=lambda device: device.id))
            for name, devices in sorted(resources.items())
        },
        nameless=tuple(nameless),
        withheld=frozenset(withheld),
    )


def _held(allocation: Allocation | None) -> str | None:
    if allocation is None:
        return None
    return f"held as {allocation.resource} by {allocation.holder or 'a container'}"


def resource_name(product: str, names: Sequence[Resource]) -> str | None:
    """Return what GPUs of a product are offered as: the first pattern that fits decides."""
    if not names:
        return GPU_RESOURCE
    return next((full_name(each.name) for each in names if _fits(each.pattern, product)), None)


def _fits(pattern: str, product: str) -> bool:
    literal = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(literal), product) is not None


def _offer(gpu: Gpu, inventory: Inventory, *, reason: str | None) -> OfferedDevice:
    with_cpus = {node.id for node in inventory.numa_nodes if node.cpus}
    known = gpu.numa_node is not None and (gpu.numa_node in with_cpus or not with_cpus)
    return OfferedDevice(
        id=gpu.uuid,
        gpu=gpu.uuid,
        reason=reason,
        numa_nodes=(gpu.numa_node,) if known and gpu.numa_node is not None else (),
    )
