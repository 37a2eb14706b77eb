"""MachineSpec: a whole machine as one immutable value, before it is rendered as files."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from msgspec import Struct

from agent.model.inventory import Distance, LinkPeer
from agent.simulation.parts import GpuModel, NicModel


class PortType(IntEnum):
    """Device/port type of the PCI Express capability (PCIe base specification 7.5.3.2)."""

    ENDPOINT = 0
    ROOT_PORT = 4
    UPSTREAM = 5
    DOWNSTREAM = 6
    INTEGRATED = 9
    """An endpoint on the root bus itself."""


class PciIds(Struct, frozen=True, kw_only=True):
    """Identity of a PCI function."""

    vendor: int
    device: int
    subsystem_vendor: int
    subsystem_device: int
    class_code: int
    """24 bits."""
    revision: int = 0


class PcieSpec(Struct, frozen=True, kw_only=True):
    """A PCIe link: what it can do and what it is trained to."""

    max_generation: int
    max_width: int
    current_generation: int
    current_width: int


class GpuSpec(Struct, frozen=True, kw_only=True):
    """One GPU."""

    index: int
    uuid: str
    serial: str
    address: str
    model: GpuModel
    numa_node: int | None
    """What sysfs says; None when it says -1."""
    memory_numa_node: int | None
    module_id: int | None
    cpu_affinity: tuple[int, ...]
    cpu_affinity_socket: tuple[int, ...]
    memory_affinity: tuple[int, ...]
    board_id: int | None
    """Shared by the GPUs of one board; None leaves it to the driver."""


class NicSpec(Struct, frozen=True, kw_only=True):
    """One network function."""

    model: NicModel
    rdma: str | None
    interface: str | None
    guid: int
    """64 bits; the MAC is made from it."""
    system_guid: int
    """Shared by the functions of one card."""
    ordinal: int
    """Number of its uverbs node and, plus two, of its interface."""
    infiniband: bool
    """The link layer: InfiniBand or Ethernet."""
    up: bool
    management: bool
    """True for a function that manages NVLink switches."""

    @property
    def name(self) -> str:
        """Return what the NIC is called: the RDMA device, else the interface."""
        return self.rdma or self.interface or ""


class NvmeSpec(Struct, frozen=True, kw_only=True):
    """One NVMe controller."""

    name: str
    model: str
    serial: str


class Function(Struct, frozen=True, kw_only=True):
    """A PCI function that is no bridge."""

    address: str
    ids: PciIds
    numa_node: int | None
    port: PortType
    pcie: PcieSpec
    driver: str | None
    role: GpuSpec | NicSpec | NvmeSpec | None = None
    virtual_functions: tuple[Function, ...] = ()
    physical_function: str | None = None


class Bridge(Struct, frozen=True, kw_only=True):
    """A root port, or one port of a switch."""

    address: str
    ids: PciIds
    numa_node: int | None
    port: PortType
    pcie: PcieSpec
    secondary: int
    subordinate: int
    acs_redirect: bool
    children: tuple[Bridge | Function, ...]


class HostBridge(Struct, frozen=True, kw_only=True):
    """A root complex: ``pci<domain>:<bus>`` in sysfs."""

    domain: int
    bus: int
    numa_node: int | None
    children: tuple[Bridge | Function, ...]

    @property
    def name(self) -> str:
        """Return the folder's name, e.g. ``pci0000:15``."""
        return f"pci{self.domain:04x}:{self.bus:02x}"


class NumaSpec(Struct, frozen=True, kw_only=True):
    """One NUMA node; without CPUs it is memory only."""

    id: int
    cpus: tuple[int, ...]
    socket: int | None
    memory_bytes: int
    distances: Mapping[int, int]


class CpuSpec(Struct, frozen=True, kw_only=True):
    """One logical CPU."""

    id: int
    socket: int
    core: int
    node: int
    siblings: tuple[int, ...]
    """The hardware threads of its core, itself included."""


class LinkSpec(Struct, frozen=True, kw_only=True):
    """One NVLink of a GPU."""

    gpu: int
    index: int
    peer: LinkPeer
    peer_address: str | None
    up: bool


class PlatformSpec(Struct, frozen=True, kw_only=True):
    """Where a tray stands in its rack, as NVML's platform info tells it."""

    chassis_serial: str
    slot_number: int
    tray_index: int
    host_id: int
    peer_type: int
    fabric_guid: str


class FabricSpec(Struct, frozen=True, kw_only=True):
    """The NVLink fabric the GPUs belong to."""

    state: str
    cluster_uuid: str
    clique_id: int


class DistanceOverride(Struct, frozen=True, kw_only=True):
    """A distance of two devices, by PCI address, that contradicts what sysfs shows."""

    a: str
    b: str
    distance: Distance


class MachineSpec(Struct, frozen=True, kw_only=True):
    """A machine."""

    name: str
    summary: str
    identity: str
    """What UUIDs, serials and GUIDs are derived from: two specs of one identity are twins."""
    architecture: str
    """``x86_64`` or ``aarch64``."""
    cpu_model: str
    driver_version: str
    cuda_version: int
    """1000 * major + 10 * minor."""
    numa_nodes: tuple[NumaSpec, ...]
    cpus: tuple[CpuSpec, ...]
    roots: tuple[HostBridge, ...]
    gpus: tuple[GpuSpec, ...]
    links: tuple[LinkSpec, ...]
    fabric: FabricSpec | None
    platform: PlatformSpec | None
    ancestors: Mapping[tuple[int, int], Distance]
    """GPU pairs (lower index first) whose ancestor the driver tells otherwise than the tree."""
    overrides: tuple[DistanceOverride, ...]
    iommu: bool
