"""Walks a machine's PCI tree, and tells the distances it amounts to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from agent.model.inventory import Distance
from agent.simulation import addresses
from agent.simulation.spec import (
    Bridge,
    Function,
    GpuSpec,
    HostBridge,
    MachineSpec,
    NicSpec,
    PortType,
)


class Placed(Struct, frozen=True):
    """A device with everything above it."""

    root: HostBridge
    bridges: tuple[Bridge, ...]
    device: Bridge | Function

    @property
    def path(self) -> str:
        """Return the device's folder below /sys/devices."""
        steps = (self.root.name, *(bridge.address for bridge in self.bridges), self.device.address)
        return "/".join(steps)


def walk(roots: Iterable[HostBridge]) -> Iterator[Placed]:
    """Yield every bridge and function, parents first."""
    for root in roots:
        for child in root.children:
            yield from _below(root, (), child)


def _below(
    root: HostBridge, bridges: tuple[Bridge, ...], device: Bridge | Function
) -> Iterator[Placed]:
    yield Placed(root, bridges, device)
    if isinstance(device, Bridge):
        for child in device.children:
            yield from _below(root, (*bridges, device), child)


def functions_of(roots: Iterable[HostBridge]) -> Iterator[Function]:
    """Yield every function that is no bridge, virtual functions included."""
    for placed in walk(roots):
        if isinstance(placed.device, Function):
            yield placed.device


def last_bus(device: Bridge | Function) -> int:
    """Return the highest bus number at or below a device."""
    if isinstance(device, Bridge):
        return device.subordinate
    return addresses.parse(device.address, domain=0, what="device").bus


def by_address(spec: MachineSpec) -> dict[str, Placed]:
    """Return every bridge and function by its PCI address."""
    return {placed.device.address: placed for placed in walk(spec.roots)}


def by_name(spec: MachineSpec) -> dict[str, Placed]:
    """Return GPUs (``GPU<index>``) and NICs by the names nvidia-smi gives them."""
    named: dict[str, Placed] = {}
    for placed in walk(spec.roots):
        match placed.device:
            case Function(role=GpuSpec(index=index)):
                named[f"GPU{index}"] = placed
            case Function(role=NicSpec() as nic):
                named[nic.name] = placed
    return named


def distance(spec: MachineSpec, a: Placed, b: Placed) -> Distance:
    """Return how far two functions are apart by the tree and their NUMA nodes."""
    if a.root is not b.root:
        return _across_roots(spec, a.device.numa_node, b.device.numa_node)
    shared = _shared(a.bridges, b.bridges)
    if not shared:
        return Distance.PHB
    apart = (*a.bridges[shared:], *b.bridges[shared:])
    switches = sum(bridge.port is PortType.UPSTREAM for bridge in apart)
    switches += a.bridges[shared - 1].port is PortType.UPSTREAM
    return Distance.PIX if switches <= 1 else Distance.PXB


def _across_roots(spec: MachineSpec, a: int | None, b: int | None) -> Distance:
    if a is None or b is None:
        # A machine with one node need not say so.
        near = sum(bool(node.cpus) for node in spec.numa_nodes) <= 1
    else:
        near = a == b
    return Distance.NODE if near else Distance.SYS


def _shared(a: tuple[Bridge, ...], b: tuple[Bridge, ...]) -> int:
    """Return how many bridges two devices have in common, from the root down."""
    count = 0
    for one, other in zip(a, b, strict=False):
        if one is not other:
            break
        count += 1
    return count
