"""UUIDs, serial numbers and GUIDs that are the same each time for the same machine."""

from __future__ import annotations

import hashlib
import uuid

_NAMESPACE = uuid.UUID("5f0c1f62-8f0b-5c55-9d0c-2b5d3c6a9b17")
_MELLANOX_OUI = 0xB83FD2


def gpu_uuid(identity: str, index: int) -> str:
    """Return ``GPU-`` and a UUID for the GPU at this index of the machine."""
    return f"GPU-{uuid.uuid5(_NAMESPACE, f'{identity}/gpu/{index}')}"


def boot_id(identity: str) -> str:
    """Return what /proc/sys/kernel/random/boot_id holds."""
    return str(uuid.uuid5(_NAMESPACE, f"{identity}/boot"))


def serial(identity: str, what: str) -> str:
    """Return 13 digits, as NVIDIA prints on its boards."""
    return f"1{_digest(identity, what) % 10**12:012d}"


def card_guid(identity: str, card: str) -> int:
    """Return the 64-bit GUID of a network card's first function; the others count up from it."""
    low = _digest(identity, card) & 0xFFFFF0
    return _MELLANOX_OUI << 40 | 0x0300 << 24 | low


def mac(guid: int) -> str:
    """Return the MAC address that belongs to a card's GUID: the middle 16 bits left out."""
    octets = (guid >> 40) << 24 | guid & 0xFFFFFF
    return ":".join(f"{octets >> shift & 0xFF:02x}" for shift in range(40, -1, -8))


def infiniband_address(guid: int) -> str:
    """Return the 20-byte address of an IPoIB interface: queue pair, subnet prefix, GUID."""
    octets = bytes.fromhex("00001049fe80000000000000") + guid.to_bytes(8)
    return ":".join(f"{octet:02x}" for octet in octets)


def colon_guid(guid: int) -> str:
    """Return a GUID as /sys/class/infiniband prints it: four groups of four digits."""
    return ":".join(f"{guid >> shift & 0xFFFF:04x}" for shift in (48, 32, 16, 0))


def _digest(identity: str, what: str) -> int:
    text = f"{identity}/{what}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8])
