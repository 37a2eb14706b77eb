"""Which NICs stand beside a GPU."""

from __future__ import annotations

from agent.model.inventory import Distance, Gpu, Inventory, Nic

# GPUDirect RDMA stays below the host bridge: what NCCL uses by default.
BESIDE = (Distance.PIX, Distance.PXB)


def is_usable(nic: Nic) -> bool:
    """Return True for a NIC that carries RDMA traffic: a port is up, and it manages no switch."""
    return nic.rdma and not nic.nvlink_management and any(p.state == "ACTIVE" for p in nic.ports)


def usable_nics(inventory: Inventory) -> tuple[Nic, ...]:
    """Return the NICs that can be rails, by name.

    Virtual functions are no rails beside their physical function: they share its wire.
    """
    usable = [nic for nic in inventory.nics if is_usable(nic)]
    cards = {nic.address for nic in usable if nic.physical_function is None}
    return tuple(nic for nic in usable if nic.physical_function not in cards - {None})


def nics_beside(inventory: Inventory, gpu: Gpu) -> tuple[Nic, ...]:
    """Return the usable NICs nearest to a GPU, if they are near enough for GPUDirect RDMA.

    On a machine whose CPU is coherent with its GPUs (C2C) the PCIe distance says nothing:
    there the NICs of the GPU's NUMA node are beside it. Where no GPU has a NIC near enough,
    those below one host bridge are.
    """
    usable = usable_nics(inventory)
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
