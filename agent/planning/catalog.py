"""The Catalog: what the node offers, as resources with their devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.config.schema import Flags
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

    def find(self, resource: str, device: str) -> OfferedDevice | None:
        """Return one device of a resource by id."""
        return next((d for d in self.resources.get(resource, ()) if d.id == device), None)


def build_catalog(
    inventory: Inventory, health: Health, *, flags: Flags, departed: Iterable[Gpu] = ()
) -> Catalog:
    """Return what the node offers.

    A GPU that ``flags`` leave no way to give to a container is unhealthy while they are in
    force: offered as healthy, every pod the kubelet gives it to would fail its admission.

    ``departed`` are GPUs seen earlier that no longer answer: they stay listed as unhealthy,
    because a device that vanishes from the list while a pod holds it confuses the kubelet's
    accounting, and because an operator should see it missing rather than never there.
    """
    present = [
        _offer(g, inventory, reason=health.reason(g.uuid) or obstacle(g, flags))
        for g in inventory.gpus
    ]
    gone = [_offer(g, inventory, reason=health.reason(g.uuid) or ABSENT) for g in departed]
    return Catalog(
        resources={
            GPU_RESOURCE: tuple(
                sorted((d for d in (*present, *gone) if d is not None), key=lambda d: d.id)
            )
        }
    )


def _offer(gpu: Gpu, inventory: Inventory, *, reason: str | None) -> OfferedDevice | None:
    if gpu.name in DISPLAY_GPUS:
        return None
    with_cpus = {node.id for node in inventory.numa_nodes if node.cpus}
    known = gpu.numa_node is not None and (gpu.numa_node in with_cpus or not with_cpus)
    return OfferedDevice(
        id=gpu.uuid,
        gpu=gpu.uuid,
        reason=reason,
        numa_nodes=(gpu.numa_node,) if known and gpu.numa_node is not None else (),
    )
