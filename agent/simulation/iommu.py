"""Puts devices into IOMMU groups as the kernel does: what can reach each other shares one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.simulation import tree
from agent.simulation.entries import Entry, Link, text
from agent.simulation.spec import Bridge, HostBridge, PortType
from agent.simulation.tree import Placed


def render(roots: Iterable[HostBridge]) -> Iterator[Entry]:
    """Yield the groups, and the link of every device to its own."""
    numbers: dict[str, int] = {}
    for placed in tree.walk(roots):
        key = _isolated_as(placed)
        group = f"sys/kernel/iommu_groups/{numbers.setdefault(key, len(numbers))}"
        folder = f"sys/devices/{placed.path}"
        yield Link(f"{folder}/iommu_group", group)
        yield Link(f"{group}/devices/{placed.device.address}", folder)
    for number in numbers.values():
        yield text(f"sys/kernel/iommu_groups/{number}/type", "DMA-FQ")


def _isolated_as(placed: Placed) -> str:
    """Return what names the group: the highest port that lets traffic turn, else the device.

    Access control on every port above isolates a device; the functions of one card are not
    isolated from each other, save virtual ones.
    """
    device = placed.device
    ports = (*placed.bridges, device) if isinstance(device, Bridge) else placed.bridges
    for bridge in ports:
        if bridge.port in (PortType.ROOT_PORT, PortType.DOWNSTREAM) and not bridge.acs_redirect:
            return bridge.address
    if isinstance(device, Bridge) or device.physical_function is not None:
        return device.address
    return device.address.rpartition(".")[0]
