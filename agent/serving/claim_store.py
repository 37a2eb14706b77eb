"""Claims on disk: what is prepared, and what was being prepared when a process died.

One file for each claim, whole or not there, with a checksum, and a copy of it for when it cannot be
read. Every entry holds the UUIDs of its GPUs: names and numbers may mean other GPUs later.
Blocking: call it from a worker thread.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from agent.model.errors import ClaimError, HardwareError
from agent.partition.written import forget, read_file, read_files, write_down, write_passing
from agent.planning.claim_usage import Usage

_VERSION = 2
_SUFFIX = ".json"


class Place(Struct, frozen=True, kw_only=True):
    """Where an instance is that is made for a claim: one compute instance takes all of it."""

    profile: int
    """GpuInstanceProfile.id."""
    start: int
    size: int

    def overlaps(self, other: Place) -> bool:
        """Return True when both take a memory slice in common."""
        return self.start < other.start + other.size and other.start < self.start + self.size


class StoredDevice(Struct, frozen=True, kw_only=True):
    """One device of a claim."""

    request: str
    subrequest: str | None = None
    """Which one of a prioritised list the request became."""
    pool: str
    device: str
    gpus: tuple[str, ...] = ()
    """GPUs that it is, or that it is a part of, by UUID; none for a NIC."""
    addresses: tuple[str, ...] = ()
    """Where these were on the PCI bus, in the same order."""
    uuids: tuple[str, ...] = ()
    """What containers are given: GPUs or a MigInstance by UUID, a NIC by PCI address. None for an
    instance that has not been made yet."""
    place: Place | None = None
    """Of an instance that is made for the claim."""
    usage: Usage | None = None
    """How its containers use it at once; None while that has not been looked at."""
    mps_set: str | None = None
    """The MpsSet whose daemon serves it."""
    admin: bool = False
    share_id: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    """What containers are told beside it."""
    mounts: dict[str, str] = field(default_factory=dict)
    """What containers see beside it, and may write to: paths of the host by their own."""
    files: dict[str, str] = field(default_factory=dict)
    """What containers can read beside it: paths of the host by their own."""
    cdi_devices: tuple[str, ...] = ()
    """What containers are given beside it, by qualified name."""


class StoredClaim(Struct, frozen=True, kw_only=True):
    """One claim on this node."""

    namespace: str
    name: str
    uid: str
    state: Literal["started", "completed"]
    boot: str
    """Boot of the node in which it was prepared: what is made for a claim ends with it."""
    devices: tuple[StoredDevice, ...]
    pod_claim: str | None = None
    """What its pod calls a claim of a template, where that has been asked."""

    def __str__(self) -> str:
        """Name it as people do."""
        return f"{self.namespace}/{self.name}"


def held_uuids(claims: Iterable[StoredClaim]) -> dict[str, str]:
    """Return which claims have what to themselves: their names, by UUID."""
    held: dict[str, str] = {}
    for claim in claims:
        for device in claim.devices:
            for uuid in () if device.admin else device.uuids:
                held[uuid] = f"{held[uuid]}, {claim}" if uuid in held else str(claim)
    return held


class UnreadableFile(Struct, frozen=True, kw_only=True):
    """A claim's file that says nothing that can be relied upon."""

    uid: str
    path: str
    reason: str
    copied: bool
    """Whether its copy says what it said: the claim is known."""

    def __str__(self) -> str:
        """Say what is wrong."""
        return f"{self.path}: {self.reason}"


class _File(Struct, frozen=True, kw_only=True):
    version: int
    checksum: int
    claim: msgspec.Raw


class ClaimStore:
    """The claims of one node."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; it is made when there is something to write."""
        self._folder = folder
        # Beside it, as what is in it is taken for a claim each.
        self._copies = folder.with_name(f"{folder.name}-copies")

    def read(self) -> tuple[tuple[StoredClaim, ...], tuple[UnreadableFile, ...]]:
        """Return the claims, and the files that cannot be read.

        Raises HardwareError when the folder cannot be read.
        """
        claims, faults = [], []
        for name, content in read_files(self._folder).items():
            uid = name.removesuffix(_SUFFIX)
            try:
                claims.append(_decoded(content, uid))
            except (msgspec.DecodeError, ValueError) as error:
                copied = self._copied(uid)
                fault = UnreadableFile(
                    uid=uid,
                    path=str(self._folder / name),
                    reason=str(error),
                    copied=copied is not None,
                )
                claims += [] if copied is None else [copied]
                faults.append(fault)
        return tuple(claims), tuple(faults)

    def sweep(self) -> None:
        """Remove copies of what somebody has removed. Raises HardwareError."""
        for name in read_files(self._copies).keys() - read_files(self._folder).keys():
            forget(self._copies / name)

    def known(self) -> frozenset[str]:
        """Return the UIDs of what is written down, readable or not. Raises HardwareError."""
        return frozenset(name.removesuffix(_SUFFIX) for name in read_files(self._folder))

    def find(self, uid: str) -> StoredClaim | None:
        """Return what is written down of a claim; None where that is nothing, or unreadable.

        Raises HardwareError.
        """
        content = read_file(self._path(uid))
        try:
            return None if content is None else _decoded(content, uid)
        except (msgspec.DecodeError, ValueError):
            return self._copied(uid)

    def write(self, claim: StoredClaim) -> None:
        """Write a claim down, on the disk. Raises HardwareError."""
        body = msgspec.json.encode(claim)
        file = _File(version=_VERSION, checksum=zlib.crc32(body), claim=msgspec.Raw(body))
        content = msgspec.json.encode(file)
        write_down(self._path(claim.uid), content)
        # Whatever comes between the two, one of them is whole; and of what a power failure leaves
        # of the copy, no pod uses anything any more.
        write_passing(self._copies / self._path(claim.uid).name, content)

    def remove(self, uid: str) -> None:
        """Forget a claim. Raises HardwareError."""
        path = self._path(uid)
        forget(self._copies / path.name)
        forget(path)

    def _copied(self, uid: str) -> StoredClaim | None:
        try:
            content = read_file(self._copies / f"{uid}{_SUFFIX}")
            return None if content is None else _decoded(content, uid)
        except (HardwareError, msgspec.DecodeError, ValueError):
            return None

    def _path(self, uid: str) -> Path:
        return self._folder / f"{checked_uid(uid)}{_SUFFIX}"


def checked_uid(uid: str) -> str:
    """Return a claim's UID, which files are named after. Raises ClaimError for no such thing."""
    if not uid or "/" in uid or uid.startswith("."):
        raise ClaimError(f"{uid!r} is no UID of a claim")
    return uid


def _decoded(content: bytes, uid: str) -> StoredClaim:
    file = msgspec.json.decode(content, type=_File)
    if file.version != _VERSION:
        raise ValueError(f"version {file.version} is another program's")
    body = bytes(file.claim)
    if zlib.crc32(body) != file.checksum:
        raise ValueError("its checksum is wrong")
    claim = msgspec.json.decode(body, type=StoredClaim)
    if claim.uid != uid:
        raise ValueError(f"it is about the claim {claim.uid}")
    return claim
