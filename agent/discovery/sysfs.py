"""Turns the native core's tree into the Inventory's values."""

from __future__ import annotations

from collections.abc import Iterable

from agent import _native
from agent.model.inventory import Distance, Nic, NicPort, NumaNode, PciAddress, PciPosition

DISTANCES = {
    _native.Distance.PIX: Distance.PIX,
    _native.Distance.PXB: Distance.PXB,
    _native.Distance.PHB: Distance.PHB,
    _native.Distance.NODE: Distance.NODE,
    _native.Distance.SYS: Distance.SYS,
}


def position(tree: _native.SystemTree, address: str) -> PciPosition | None:
    """Return where a device sits; None when sysfs does not show it."""
    device = tree.device(address)
    if device is None or device.root is None:
        return None
    return PciPosition(
        address=PciAddress(device.address),
        root=device.root,
        switch=_address(device.switch_address),
        path=tuple(PciAddress(step) for step in device.path),
        numa_node=device.numa_node,
        path_generation=device.path_max_generation,
        path_width=device.path_max_width,
        acs_redirect=device.acs_redirect,
    )


def addresses(found: Iterable[str]) -> tuple[PciAddress, ...]:
    """Return addresses of the native core as ours."""
    return tuple(PciAddress(address) for address in found)


def distance(tree: _native.SystemTree, a: str, b: str) -> Distance | None:
    """Return the distance of two devices by address; None when sysfs does not show both."""
    found = tree.distance(a, b)
    return None if found is None else DISTANCES[found]


def nics(tree: _native.SystemTree) -> tuple[Nic, ...]:
    """Return the node's NICs in natural order of their names."""
    return tuple(_nic(tree, nic) for nic in tree.nics)


def numa_nodes(tree: _native.SystemTree) -> tuple[NumaNode, ...]:
    """Return the NUMA nodes by id."""
    return tuple(
        NumaNode(
            id=node.id,
            cpus=tuple(node.cpus),
            distances=dict(node.distances),
            memory_bytes=node.memory_bytes,
            socket=node.socket,
        )
        for node in tree.numa_nodes
    )


def _nic(tree: _native.SystemTree, nic: _native.Nic) -> Nic:
    return Nic(
        name=nic.name,
        address=_address(nic.address),
        position=None if nic.address is None else position(tree, nic.address),
        rdma=nic.rdma,
        interfaces=tuple(nic.interfaces),
        ports=tuple(
            NicPort(
                number=port.number,
                state=port.state,
                rate_gbps=port.rate_gbps,
                link_layer=port.link_layer,
            )
            for port in nic.ports
        ),
        numa_node=nic.numa_node,
        physical_function=_address(nic.physical_function),
        nvlink_management=nic.nvlink_management,
    )


def _address(text: str | None) -> PciAddress | None:
    return None if text is None else PciAddress(text)
