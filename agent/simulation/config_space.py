"""PCI configuration space: header, PCI Express capability and access control services.

Offsets and bits: PCI Express Base Specification chapter 7, named in the kernel's
include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

import struct

from agent.simulation.addresses import Address
from agent.simulation.spec import Bridge, Function, PcieSpec, PciIds, PortType

_SIZE = 4096
_COMMAND = 0x0406  # memory decoding, bus master, legacy interrupts off
_STATUS = 0x0010  # there is a capability list
_SUBSYSTEM_CAPABILITY = 0x40
_POWER_CAPABILITY = 0x48
_EXPRESS_CAPABILITY = 0x60
_ERROR_CAPABILITY = 0x100
_ACS_CAPABILITY = 0x148
_ACS_ALL = 0x005F  # every service but egress control
_ACS_REDIRECT = 0x001D  # source validation, request and completion redirect, upstream forwarding


def of_function(function: Function, *, multi_function: bool) -> bytes:
    """Return the 4096 bytes of an endpoint's configuration space."""
    space = _space(function.ids, header=0x80 if multi_function else 0x00)
    ids = function.ids
    struct.pack_into("<HH", space, 0x2C, ids.subsystem_vendor, ids.subsystem_device)
    space[0x34] = _POWER_CAPABILITY
    _put_express(space, function.port, function.pcie)
    _put_errors(space, following=0)
    return bytes(space)


def of_bridge(bridge: Bridge, address: Address) -> bytes:
    """Return the 4096 bytes of a port's configuration space."""
    space = _space(bridge.ids, header=0x01)
    struct.pack_into("<BBB", space, 0x18, address.bus, bridge.secondary, bridge.subordinate)
    space[0x34] = _SUBSYSTEM_CAPABILITY
    ids = bridge.ids
    struct.pack_into(
        "<BBHHH",
        space,
        _SUBSYSTEM_CAPABILITY,
        0x0D,
        _POWER_CAPABILITY,
        0,
        ids.subsystem_vendor,
        ids.subsystem_device,
    )
    _put_express(space, bridge.port, bridge.pcie)
    has_acs = bridge.port in (PortType.ROOT_PORT, PortType.DOWNSTREAM)
    _put_errors(space, following=_ACS_CAPABILITY if has_acs else 0)
    if has_acs:
        control = _ACS_REDIRECT if bridge.acs_redirect else 0
        struct.pack_into(
            "<IHH", space, _ACS_CAPABILITY, _extended(0x000D, version=1), _ACS_ALL, control
        )
    return bytes(space)


def _space(ids: PciIds, *, header: int) -> bytearray:
    space = bytearray(_SIZE)
    struct.pack_into("<HHHH", space, 0, ids.vendor, ids.device, _COMMAND, _STATUS)
    struct.pack_into("<I", space, 0x08, ids.class_code << 8 | ids.revision)
    struct.pack_into("<BBB", space, 0x0C, 0x10, 0, header)
    struct.pack_into("<BBH", space, _POWER_CAPABILITY, 0x01, _EXPRESS_CAPABILITY, 0x0003)
    return space


def _put_express(space: bytearray, port: PortType, link: PcieSpec) -> None:
    has_slot = port in (PortType.ROOT_PORT, PortType.DOWNSTREAM)
    flags = 2 | port << 4 | (1 << 8 if has_slot else 0)
    struct.pack_into("<BBH", space, _EXPRESS_CAPABILITY, 0x10, 0, flags)
    if port is PortType.INTEGRATED:
        return  # no link leads to it
    capability = link.max_generation | link.max_width << 4
    status = link.current_generation | link.current_width << 4
    struct.pack_into("<I", space, _EXPRESS_CAPABILITY + 0x0C, capability)
    struct.pack_into("<H", space, _EXPRESS_CAPABILITY + 0x12, status)
    speeds = sum(1 << generation for generation in range(1, link.max_generation + 1))
    struct.pack_into("<I", space, _EXPRESS_CAPABILITY + 0x2C, speeds)
    struct.pack_into("<H", space, _EXPRESS_CAPABILITY + 0x30, link.max_generation)


def _put_errors(space: bytearray, *, following: int) -> None:
    header = _extended(0x0001, version=2, following=following)
    struct.pack_into("<I", space, _ERROR_CAPABILITY, header)


def _extended(capability: int, *, version: int, following: int = 0) -> int:
    return capability | version << 16 | following << 20
