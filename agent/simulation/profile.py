"""The profile file format: the shape of a machine, stated briefly (docs/machine-profiles.md)."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Literal

from msgspec import Struct

from agent.model.errors import ConfigError
from agent.model.inventory import Distance
from agent.simulation import strict


class Node(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A NUMA node with CPUs."""

    node: int
    cpus: str
    """A kernel CPU list; empty when a capture does not tell."""
    memory_gib: int = 256


class MemoryNodes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """NUMA nodes without CPUs: the memory of a coherent GPU, or reserves for its MIG slices."""

    nodes: str
    beside: int
    """The node with CPUs they hang off."""
    memory_gib: int = 0
    """Memory of the first; the others are empty until a MIG slice takes one."""


class Slit(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Firmware's NUMA distances; 10 is local."""

    same_socket: int = 12
    other_socket: int = 21
    memory_near: int = 80
    """Between a CPU node and memory nodes beside it, and between memory nodes of one socket."""
    memory_far: int = 120


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing in the PCI tree. Exactly one of the first group names what it is.

    Neighbours in a list with the same bus and device are functions of one card.
    """

    gpu: int | None = None
    """Index of the GPU."""
    nic: str | None = None
    """Name of the RDMA device."""
    net: str | None = None
    """Name of the interface; alone, a NIC without RDMA."""
    nvswitch: int | None = None
    nvme: str | None = None
    display: str | None = None
    """The management controller's display, by a name that is not used further."""
    switch: str | None = None
    """Name of the bridge in parts/bridges.yaml."""

    at: str = ""
    """PCI address ``bb:dd.f``, or with its domain."""
    below: tuple[Entry, ...] = ()
    """What stands behind a switch, one downstream port each."""
    acs: Literal["off", "redirect"] | None = None
    """Of a switch's downstream ports; None: as the machine's."""
    node: int | None = None
    """numa_node where it differs from the root's; -1 for none."""
    card: str | None = None
    """Name of the NIC in parts/nics.yaml; None: the machine's ``nic``."""
    link: Literal["infiniband", "ethernet"] = "infiniband"
    up: bool = True
    management: bool = False
    vfs: int = 0
    """Virtual functions of a NIC."""
    module: int | None = None
    board: int | None = None
    """GPUs with the same number are dies of one board."""
    cpus: str | None = None
    """CPU affinity where it is not the node's."""
    memory: str | None = None
    """Memory affinity where it is not the node."""
    memory_node: int | None = None
    """NUMA node of the GPU's own memory."""


class Root(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A root complex."""

    root: str
    """``dddd:bb``."""
    node: int
    """Its NUMA node, -1 for none."""
    ports: tuple[Entry, ...] = ()
    """What stands behind it: one root port each, save entries on the root's own bus."""


class Nvlink(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the GPUs' NVLinks are wired."""

    switched: Literal["all", "none"] | tuple[int, ...] = "none"
    """GPUs all of whose links go to the machine's NVSwitches (or to the rack's, without one)."""
    direct: dict[str, int] = {}
    """Links between two GPUs: ``0-1: 2``."""
    down: dict[int, int] = {}
    """How many of a GPU's links are down."""


class Fabric(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The NVLink fabric."""

    state: Literal["not-supported", "not-started", "in-progress", "completed"] = "completed"
    cluster_uuid: str = "00000000-0000-0000-0000-000000000000"
    """Zeros: a fabric inside one node."""
    clique_id: int = 0


class Platform(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the tray stands in its rack."""

    chassis_serial: str
    slot_number: int
    tray_index: int
    host_id: int
    peer_type: int
    """NVML's number: 1 where the peers are behind switches."""
    fabric_guid: str


class Override(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A distance the machine reports against its own tree."""

    devices: tuple[str, str]
    """``GPU<index>``, or a NIC's name."""
    distance: Distance


class Profile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A machine model."""

    version: Literal["v1"]
    name: str
    summary: str
    sockets: tuple[tuple[Node, ...], ...]
    gpu: str
    """The GPU model, in parts/gpus.yaml."""
    pci: tuple[Root, ...]
    root_port: str
    """The root ports, in parts/bridges.yaml."""
    nic: str = "cx7-ndr"
    """The network cards that do not say, in parts/nics.yaml."""
    driver: str = "570.124.06"
    cuda: str = "12.8"
    architecture: Literal["x86_64", "aarch64"] = "x86_64"
    cpu: str = ""
    """The CPU's name."""
    threads: Literal[1, 2] = 2
    """Hardware threads of a core: the halves of a node's CPU list, in order."""
    memory_nodes: tuple[MemoryNodes, ...] = ()
    slit: Slit = Slit()
    nvlink: Nvlink = Nvlink()
    fabric: Fabric | None = None
    platform: Platform | None = None
    iommu: bool = False
    acs: Literal["off", "redirect"] = "off"
    distances: tuple[Override, ...] = ()
    identity: str | None = None
    """What UUIDs derive from; None: the name. A machine made from a capture says it here."""


def shipped() -> tuple[str, ...]:
    """Return the names of the profiles that ship with Plumbline, sorted."""
    names = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load(name: str) -> Profile:
    """Return a profile by name, or from a file when ``name`` is a path (has a slash or .yaml).

    Raises ConfigError for an unknown name (with the nearest one), an unreadable file, or
    content outside the schema.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        return parse(_read(Path(name)), where=name)
    if name not in shipped():
        near = difflib.get_close_matches(name, shipped(), n=1, cutoff=0)[0]
        raise ConfigError(
            f"no profile '{name}': the nearest is '{near}'; "
            "'plumbline machine list' shows all, and a path names a file of your own"
        )
    source = _folder() / f"{name}.yaml"
    return parse(source.read_bytes(), where=f"profile {name}")


def parse(text: str | bytes, *, where: str) -> Profile:
    """Return the profile in ``text``; raise ConfigError that names ``where`` and the path."""
    return strict.decode(text, Profile, where=where)


def _folder() -> resources.abc.Traversable:
    return resources.files("agent.simulation") / "profiles"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the profile: {error.strerror}") from error
