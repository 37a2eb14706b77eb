"""Which NICs stand beside a GPU, and what number the two have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from agent.model.inventory import Distance, Gpu, Inventory, Nic, PciAddress
from agent.planning.nic_match import match_rounds

# GPUDirect RDMA stays below the host bridge: what NCCL uses by default.
BESIDE = (Distance.PIX, Distance.PXB)


def is_usable(nic: Nic) -> bool:
    """Return True for a NIC that carries RDMA traffic: a port is up, and it manages no switch."""
    return carries_rdma(nic) and has_link(nic)


def carries_rdma(nic: Nic) -> bool:
    """Return True for a NIC that carries RDMA traffic while one of its ports is up."""
    return nic.rdma and not nic.nvlink_management


def has_link(nic: Nic) -> bool:
    """Return True when a port is up."""
    return any(port.state == "ACTIVE" for port in nic.ports)


def usable_nics(inventory: Inventory) -> tuple[Nic, ...]:
    """Return the NICs that can be rails, by name.

    Virtual functions are no rails beside their physical function: they share its wire.
    """
    return _wires(nic for nic in inventory.nics if is_usable(nic))


def _wires(nics: Iterable[Nic]) -> tuple[Nic, ...]:
    found = tuple(nics)
    cards = {nic.address for nic in found if nic.physical_function is None}
    return tuple(nic for nic in found if nic.physical_function not in cards - {None})


def nics_beside(inventory: Inventory, gpu: Gpu) -> tuple[Nic, ...]:
    """Return the usable NICs nearest to a GPU, if they are near enough for GPUDirect RDMA.

    On a machine whose CPU is coherent with its GPUs (C2C) the PCIe distance says nothing:
    there the NICs of the GPU's NUMA node are beside it. Where no GPU has a NIC near enough,
    those below one host bridge are.
    """
    return _nearest(inventory, gpu, usable_nics(inventory))


def _nearest(inventory: Inventory, gpu: Gpu, usable: tuple[Nic, ...]) -> tuple[Nic, ...]:
    if gpu.c2c_links:
        near = gpu.numa_node
        return tuple(nic for nic in usable if near is not None and nic.numa_node == near)
    for distance in BESIDE:
        found = tuple(n for n in usable if inventory.distance(gpu.uuid, n.name) is distance)
        if found:
            return found
    return _below_one_bridge(inventory, gpu, usable)


def _below_one_bridge(inventory: Inventory, gpu: Gpu, usable: tuple[Nic, ...]) -> tuple[Nic, ...]:
    """Return the NICs below a GPU's host bridge that are not below every GPU's.

    A NIC at PHB of all GPUs is what a VM shows whose PCIe tree is flat: it says nothing.
    """
    at = {
        (other.uuid, nic.name): inventory.distance(other.uuid, nic.name)
        for other in inventory.gpus
        for nic in usable
    }
    if any(distance in BESIDE for distance in at.values()):
        return ()
    return tuple(
        nic
        for nic in usable
        if inventory.distance(gpu.uuid, nic.name) is Distance.PHB
        and any(at[other.uuid, nic.name] is not Distance.PHB for other in inventory.gpus)
    )


class RailNumbers(Struct, frozen=True, kw_only=True):
    """Which rail a GPU and a NIC are on: those of one number are beside each other."""

    gpus: Mapping[str, int]
    """By UUID."""
    nics: Mapping[PciAddress, int]
    """By address; a virtual function is on the rail of its physical function."""
    seen: frozenset[str]
    """Everything that was there, on a rail or not."""

    def of(self, nic: Nic) -> int | None:
        """Return the rail of a NIC, None where it is on none."""
        own = None if nic.address is None else self.nics.get(nic.address)
        if own is None and nic.physical_function is not None:
            return self.nics.get(nic.physical_function)
        return own


def rail_numbers(inventory: Inventory, previous: RailNumbers | None = None) -> RailNumbers:
    """Return the rails of a node, from 0 by the PCI addresses of its GPUs.

    Rail i is that of the i-th GPU that has a NIC of its own: on the usual machines GPU i and NIC
    i, on every node alike. Every NIC beside a GPU is on the rail of one GPU, dealt out round by
    round; a GPU for which none is left is on the rail of the first NIC beside it. A port that is
    down changes no number, and neither does what was there in ``previous`` and is lost.
    """
    nics = _wires(nic for nic in inventory.nics if carries_rdma(nic) and nic.address is not None)
    seen = frozenset((*(gpu.uuid for gpu in inventory.gpus), *(str(nic.address) for nic in nics)))
    if previous is not None and seen < previous.seen:
        return previous
    by_address = sorted(inventory.gpus, key=lambda gpu: pci_order(gpu.address))
    beside = {
        gpu.uuid: [nic.address for nic in _nearest(inventory, gpu, nics) if nic.address]
        for gpu in by_address
    }
    own = match_rounds(beside, max(map(len, beside.values()), default=0))
    gpu_rails: dict[str, int] = {}
    nic_rails: dict[PciAddress, int] = {}
    for uuid in (uuid for uuid, addresses in own.items() if addresses):
        nic_rails |= {PciAddress(address): len(gpu_rails) for address in own[uuid]}
        gpu_rails[uuid] = len(gpu_rails)
    for uuid, addresses in beside.items():
        if addresses:
            gpu_rails.setdefault(uuid, nic_rails[addresses[0]])
    return RailNumbers(gpus=gpu_rails, nics=nic_rails, seen=seen)


def pci_order(address: str) -> tuple[int, str]:
    """Return what PCI addresses are sorted by: domains above ffff have more digits."""
    return len(address), address
