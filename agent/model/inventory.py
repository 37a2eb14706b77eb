"""The Inventory: what a node has, as one immutable value.

Addresses are PCI addresses ``dddd:bb:dd.f`` in lower case (the domain has four digits, or
more above ffff). A field that the machine does not tell is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from typing import NewType

from msgspec import Struct

from agent.model.mig import Partition

PciAddress = NewType("PciAddress", str)


class Distance(StrEnum):
    """How far apart two PCI devices are, in nvidia-smi's words, nearest first."""

    PIX = "PIX"  # at most one PCIe switch between them
    PXB = "PXB"  # several PCIe switches, no host bridge
    PHB = "PHB"  # through one host bridge
    NODE = "NODE"  # through several host bridges of one NUMA node
    SYS = "SYS"  # across NUMA nodes


class LinkPeer(StrEnum):
    """What the far end of an NVLink is."""

    GPU = "gpu"
    SWITCH = "switch"
    NPU = "npu"  # an IBM POWER processor
    UNKNOWN = "unknown"


class Link(Struct, frozen=True, kw_only=True):
    """One NVLink of a GPU."""

    index: int
    active: bool
    version: int | None
    """NVLink version as NVML counts it (4 on Hopper, 5 on Blackwell)."""
    peer: LinkPeer
    peer_address: PciAddress | None


class PcieLink(Struct, frozen=True, kw_only=True):
    """A PCIe link: what it can do and what it does now (an idle GPU trains down)."""

    max_generation: int | None
    max_width: int | None
    current_generation: int | None
    current_width: int | None


class PciPosition(Struct, frozen=True, kw_only=True):
    """Where a PCI device sits, from its path in sysfs."""

    address: PciAddress
    root: str
    """The root complex, e.g. ``pci0000:15``: DRA's pcieRoot."""
    switch: PciAddress | None
    """Upstream port of the nearest PCIe switch above the device."""
    path: tuple[PciAddress, ...]
    """Every bridge from the root port down, then the device itself."""
    numa_node: int | None
    path_generation: int | None = None
    """What the narrowest hop up to the root port can do: PCIe generation ..."""
    path_width: int | None = None
    """... and lanes."""
    acs_redirect: bool | None = None
    """True when a port above sends peer traffic up to the root complex (ACS), so that PIX is
    PIX on paper only; None when that cannot be read without CAP_SYS_ADMIN."""


class MigMode(Struct, frozen=True, kw_only=True):
    """MIG mode of a GPU that can do MIG."""

    current: bool
    pending: bool


class Fabric(Struct, frozen=True, kw_only=True):
    """A GPU's place in an NVLink fabric that spans nodes (``nvmlDeviceGetGpuFabricInfoV``)."""

    state: str
    """``not-supported``, ``not-started``, ``in-progress`` or ``completed``."""
    cluster_uuid: str
    clique_id: int
    health_mask: int | None


class Gpu(Struct, frozen=True, kw_only=True):
    """One physical GPU that answers."""

    index: int
    """NVML index. Changes when a GPU disappears: a name for people, never a key."""
    uuid: str
    name: str
    brand: str | None
    architecture: str | None
    compute_capability: str | None
    """``major.minor``."""
    serial: str | None
    minor: int | None
    """Number of the device node /dev/nvidia<minor>."""
    module_id: int | None
    board_id: int | None
    memory_bytes: int
    numa_node: int | None
    """The CPU NUMA node beside the GPU."""
    memory_numa_node: int | None
    """The node of the GPU's own memory, on coherent platforms only."""
    cpu_affinity: tuple[int, ...]
    memory_affinity: tuple[int, ...]
    """NUMA nodes whose memory is nearest."""
    position: PciPosition | None
    """None when sysfs does not show the device (some containers and VMs)."""
    address: PciAddress
    pcie: PcieLink
    mig: MigMode | None
    links: tuple[Link, ...]
    c2c_links: int
    """Active chip-to-chip links to the CPU (Grace)."""
    fabric: Fabric | None
    partition: Partition | None = None
    """None while MIG is off, and where the driver does not let us see it."""
    drm_nodes: tuple[str, ...] = ()
    """Device nodes of the graphics interface, e.g. ``/dev/dri/renderD128``."""

    @property
    def device_node(self) -> str | None:
        """Return the GPU's device node as the driver names it, below /dev."""
        return None if self.minor is None else f"/dev/nvidia{self.minor}"


class UnavailableGpu(Struct, frozen=True, kw_only=True):
    """A GPU the driver lists but that does not answer."""

    index: int
    uuid: str | None
    address: PciAddress | None
    reason: str


class NicPort(Struct, frozen=True, kw_only=True):
    """One port of a NIC."""

    number: int
    state: str | None
    """``ACTIVE``, ``DOWN``, ...: the word after the number in sysfs."""
    rate_gbps: float | None
    link_layer: str | None
    """``InfiniBand`` or ``Ethernet``."""


class Nic(Struct, frozen=True, kw_only=True):
    """One network function: an RDMA device, a plain Ethernet device, or both in one."""

    name: str
    """The RDMA device (``mlx5_0``) where there is one, else the network interface."""
    address: PciAddress | None
    position: PciPosition | None
    rdma: bool
    interfaces: tuple[str, ...]
    ports: tuple[NicPort, ...]
    numa_node: int | None
    physical_function: PciAddress | None
    """The PF's address when this is a virtual function."""
    nvlink_management: bool
    """True for a function that manages NVLink switches and carries no traffic."""
    verbs_node: str | None = None
    """Device node through which programs reach the RDMA device: /dev/infiniband/uverbs<n>."""


class NumaNode(Struct, frozen=True, kw_only=True):
    """One NUMA node."""

    id: int
    cpus: tuple[int, ...]
    distances: Mapping[int, int]
    """SLIT distance to each node by id; 10 is local."""
    memory_bytes: int | None
    socket: int | None
    """physical_package_id of its CPUs; None for nodes without CPUs."""


class PairDistance(Struct, frozen=True, kw_only=True):
    """The distance of one unordered pair of devices, and where it is known from."""

    a: str
    b: str
    distance: Distance
    overridden: bool = False
    """True when the operator's locality file says so against what sysfs shows."""


class FeatureNodes(Struct, frozen=True, kw_only=True):
    """Device nodes of what programs use beside a GPU, as far as this node has them."""

    gds: tuple[str, ...] = ()
    """GPUDirect Storage."""
    mofed: tuple[str, ...] = ()
    """RDMA."""
    gdrcopy: tuple[str, ...] = ()
    """GDRCopy."""


class Inventory(Struct, frozen=True, kw_only=True, dict=True):
    """Everything one look at a node found.

    ``distances`` is keyed by unordered pairs of names: a GPU's UUID or a NIC's name.
    """

    driver_version: str
    nvml_version: str
    cuda_version: str
    """``major.minor`` of the newest CUDA the driver runs."""
    gpus: tuple[Gpu, ...]
    unavailable: tuple[UnavailableGpu, ...]
    nics: tuple[Nic, ...]
    numa_nodes: tuple[NumaNode, ...]
    pairs: tuple[PairDistance, ...]
    nvswitches: tuple[PciAddress, ...] = ()
    nvmes: tuple[PciAddress, ...] = ()
    control_nodes: tuple[str, ...] = ()
    """Device nodes every GPU container needs, as far as this node has them."""
    feature_nodes: FeatureNodes = FeatureNodes()
    warnings: tuple[str, ...] = ()

    @cached_property
    def _by_pair(self) -> Mapping[frozenset[str], Distance]:
        return {frozenset((p.a, p.b)): p.distance for p in self.pairs}

    def distance(self, a: str, b: str) -> Distance | None:
        """Return the PCIe distance between two devices by name; None when it is not known."""
        return self._by_pair.get(frozenset((a, b)))

    def gpu(self, uuid: str) -> Gpu | None:
        """Return the available GPU with this UUID."""
        return next((g for g in self.gpus if g.uuid == uuid), None)


def nvlinks_between(a: Gpu, b: Gpu) -> int:
    """Return how many NVLinks join two GPUs (0 for none).

    Links through NVSwitches count as what both ends bring to the switches, which is how
    nvidia-smi prints NV18 between every pair of a DGX H100.
    """
    direct = min(_links_to(a, b.address), _links_to(b, a.address))
    if direct:
        return direct
    return min(_links_to_switches(a.links), _links_to_switches(b.links))


def _links_to(gpu: Gpu, address: PciAddress) -> int:
    return sum(link.active and link.peer_address == address for link in gpu.links)


def _links_to_switches(links: Iterable[Link]) -> int:
    return sum(link.active and link.peer is LinkPeer.SWITCH for link in links)
