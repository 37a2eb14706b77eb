"""The node's pool of NICs as DRA devices, from a snapshot. Pure.

A device is one RDMA function: a physical one or a virtual one, each by itself. A physical
function stays on offer when it has virtual functions; whoever wants other rules makes a
DeviceClass that selects by ``isVF`` and ``vfs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from agent.model.inventory import Nic, NicPort, PciAddress
from agent.planning.dra_devices import (
    PCI_BUS_ID,
    DraDevice,
    NicFunction,
    Offering,
    Subject,
    Value,
    Version,
    attributes,
)
from agent.planning.rails import carries_rdma, has_link, pci_order
from agent.planning.snapshot import Snapshot
from agent.planning.sockets import sockets_of

_STANDARD = "resource.kubernetes.io/"

NIC_DRIVER = "nic.plumbline.dev"
PORT_DOWN_TAINT = f"{NIC_DRIVER}/port-down"
ABSENT_TAINT = f"{NIC_DRIVER}/absent"
TAINT_EFFECT = "NoSchedule"
"""Whatever GPUs' is: a port that is down for a moment must not end a pod."""

_GONE = "the node no longer has it as an RDMA device"


class NicPool(Struct, frozen=True, kw_only=True, dict=True):
    """Everything that decides what the pool of NICs has."""

    snapshot: Snapshot
    claimed: frozenset[str] = frozenset()
    """PCI addresses of the functions that claims have."""
    given: frozenset[str] = frozenset()
    """Names of NICs that containers were given with GPUs, through the device plugin."""

    @cached_property
    def offering(self) -> Offering:
        """What the pool has, in the order in which it is listed.

        A function that a claim has stays in the pool whatever becomes of it. What a container
        was given through the device plugin is left out until that ends.
        """
        listed = [
            nic
            for nic in self._functions
            if nic.address in self.claimed or self._fault_of(nic) is None
        ]
        lost = self.claimed - {nic.address for nic in listed}
        return Offering(
            devices=(
                *(_device(nic, self.snapshot) for nic in _ordered(listed, self.snapshot)),
                *(self._lost_device(each) for each in sorted(lost, key=pci_order)),
            ),
            allocated=frozenset(map(nic_name, self.claimed)),
        )

    @cached_property
    def subjects(self) -> Mapping[str, Subject]:
        """What the names of devices stand for, also of those that are not listed now."""
        everything = (*self._functions, *self.snapshot.departed_nics)
        addresses = (nic.address for nic in everything if nic.address is not None)
        return {nic_name(address): NicFunction(address=address) for address in addresses}

    @cached_property
    def health(self) -> Mapping[str, str | None]:
        """What is wrong with each device that is listed, by name; None with those that are well."""
        return {each.name: self._trouble(each) for each in self.offering.devices}

    def fault(self, subject: NicFunction) -> str | None:
        """Return why a function must not be given, whatever claims have; None where it may.

        A port that is down is no reason: a claim that tolerates the taint wants it.
        """
        nic = self.nic(subject.address)
        return _GONE if nic is None else self._fault_of(nic)

    def nic(self, address: str) -> Nic | None:
        """Return the function at a PCI address, None where there is none."""
        return next((nic for nic in self._functions if nic.address == address), None)

    @cached_property
    def _functions(self) -> tuple[Nic, ...]:
        nics = self.snapshot.inventory.nics
        return tuple(nic for nic in nics if carries_rdma(nic) and nic.address is not None)

    def _fault_of(self, nic: Nic) -> str | None:
        if nic.verbs_node is None:
            return f"{nic.name} has no device node in /dev/infiniband; load the module ib_uverbs"
        if nic.name in self.given:
            return f"a container was given {nic.name} with its GPUs, through the device plugin"
        return None

    def _lost_device(self, address: str) -> DraDevice:
        """Return a function that is no more, as it was as far as that is known."""
        taints = {ABSENT_TAINT: "true"}
        for nic in self.snapshot.departed_nics:
            if nic.address == address:
                return replace(_device(nic, self.snapshot), taints=taints)
        return DraDevice(
            name=nic_name(address),
            subject=NicFunction(address=address),
            attributes=attributes(_least(address)),
            capacity={},
            taints=taints,
        )

    def _trouble(self, device: DraDevice) -> str | None:
        if ABSENT_TAINT in device.taints:
            return _GONE
        return "none of its ports is up" if device.taints else None


def nic_name(address: str) -> str:
    """Return what a function is called in its pool: ``nic-0000-18-00-0`` for 0000:18:00.0."""
    return "nic-" + re.sub(r"[^a-z0-9]", "-", address.lower())


def nic_address(name: str) -> str | None:
    """Return the PCI address of a function by its name in the pool; None for another name."""
    found = re.fullmatch(r"nic-([0-9a-f]+)-([0-9a-f]{2})-([0-9a-f]{2})-([0-7])", name)
    return None if found is None else "{}:{}:{}.{}".format(*found.groups())


def _ordered(nics: Iterable[Nic], snapshot: Snapshot) -> list[Nic]:
    """Return functions by rail and address; the second of a wire after the first of every one.

    Those on no rail come after those on one: a NIC for storage is nobody's best.
    """
    turns: dict[PciAddress | None, int] = {}
    keys = {}
    # Physical functions come before the virtual ones of the same wire.
    for nic in sorted(nics, key=lambda nic: (nic.physical_function is not None, _place(nic))):
        wire = nic.physical_function or nic.address
        turns[wire] = turns.get(wire, -1) + 1
        rail = snapshot.rails.of(nic)
        keys[nic.address] = (turns[wire], rail is None, rail or 0, _place(nic))
    return sorted(nics, key=lambda nic: keys[nic.address])


def _place(nic: Nic) -> tuple[int, str]:
    return pci_order(nic.address or "")


def _device(nic: Nic, snapshot: Snapshot) -> DraDevice:
    address, position, port = nic.address or "", nic.position, _port(nic)
    rate = port.rate_gbps if port else None
    facts: dict[str, Value | Version | None] = {
        **_least(address),
        "rdmaDevice": nic.name,
        "ifName": nic.interfaces[0] if nic.interfaces else None,
        "linkLayer": port.link_layer if port else None,
        "rateGbps": None if rate is None else round(rate),
        "state": port.state if port else None,
        "socket": _socket(nic, snapshot),
        "pcieSwitch": position.switch if position else None,
        "rail": snapshot.rails.of(nic),
        "isVF": nic.physical_function is not None,
        "parentBusID": nic.physical_function,
        "vfs": sum(each.physical_function == address for each in snapshot.inventory.nics),
        _STANDARD + "pcieRoot": position.root if position else None,
        _STANDARD + "numaNode": nic.numa_node,
        "numaNode": nic.numa_node,
    }
    return DraDevice(
        name=nic_name(address),
        subject=NicFunction(address=address),
        attributes=attributes(facts),
        capacity={},
        taints={} if has_link(nic) else {PORT_DOWN_TAINT: "true"},
    )


def _least(address: str) -> dict[str, Value | Version | None]:
    return {"type": "nic", PCI_BUS_ID: address}


def _port(nic: Nic) -> NicPort | None:
    """Return the port that a function is used through: the first one that is up."""
    up = (port for port in nic.ports if port.state == "ACTIVE")
    return next(up, nic.ports[0] if nic.ports else None)


def _socket(nic: Nic, snapshot: Snapshot) -> int | None:
    if nic.numa_node is None:
        return None
    return sockets_of(snapshot.inventory.numa_nodes).get(nic.numa_node)
