"""Vital product data of network cards (PCI Local Bus 3.0, appendix I)."""

from __future__ import annotations

import struct

from agent.simulation.spec import NicSpec

_NAME_TAG, _READ_ONLY_TAG, _END_TAG = 0x82, 0x90, 0x78


def of_nic(nic: NicSpec) -> bytes:
    """Return what /sys/bus/pci/devices/<address>/vpd holds.

    A function that manages NVLink switches says SW_MNG, which is what NVIDIA's fabric manager
    looks for.
    """
    name = f"{nic.model.hca_type or nic.model.driver} network adapter".encode()
    fields = [
        (b"PN", nic.model.board_id.encode()),
        (b"SN", f"MT{nic.system_guid & 0xFFFFFFFF:010d}".encode()),
    ]
    if nic.management:
        fields.append((b"V1", b"SW_MNG"))
    body = b"".join(key + struct.pack("<B", len(value)) + value for key, value in fields)
    start = struct.pack("<BH", _NAME_TAG, len(name)) + name
    head = struct.pack("<BH", _READ_ONLY_TAG, len(body) + 4) + body + b"RV\x01"
    checksum = -sum(start + head) & 0xFF
    return start + head + bytes((checksum, _END_TAG))
