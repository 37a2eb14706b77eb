"""Makes the PCI functions that a profile's entries name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.model.errors import ConfigError
from agent.simulation import identity, lists, nics, parts, pci_tree
from agent.simulation.addresses import Address
from agent.simulation.parts import GpuModel
from agent.simulation.profile import Entry, Profile, Root
from agent.simulation.spec import (
    Function,
    GpuSpec,
    NicSpec,
    NvmeSpec,
    PcieSpec,
    PciIds,
    PortType,
)

_NVIDIA = 0x10DE
_NVME_MODEL = "SAMSUNG MZWLJ3T8HBLS-00007"
_NVSWITCH_DEVICES = {"volta": 0x1AC2, "ampere": 0x1AF1, "hopper": 0x22A3}  # the PCI ID repository


def names_of(function: Function) -> Iterator[str]:
    """Yield the device names a function claims in /sys/class."""
    match function.role:
        case NicSpec(rdma=rdma, interface=interface):
            yield from filter(None, (rdma, interface))
        case NvmeSpec(name=name):
            yield name
        case _:
            return


@dataclass(slots=True, kw_only=True)
class Maker:
    """Makes functions; counts what is numbered as it is met."""

    profile: Profile
    cpus: Mapping[int, tuple[int, ...]]
    """CPUs of each NUMA node."""
    sockets: Mapping[int, int | None]
    nvswitches: list[str] = field(default_factory=list)
    """Addresses of the NVSwitches made so far."""
    _nics: nics.NicMaker = field(init=False)

    def __post_init__(self) -> None:
        """Give the NICs a maker of their own."""
        self._nics = nics.NicMaker(identity=self.identity, card=self.profile.nic)

    @property
    def identity(self) -> str:
        """Return what UUIDs and serial numbers derive from."""
        return self.profile.identity or self.profile.name

    def make(
        self, entry: Entry, address: Address, root: Root, port: PortType
    ) -> tuple[Function, ...]:
        """Return the function of an entry and its virtual functions; raise ConfigError."""
        node = pci_tree.numa_node(root.node if entry.node is None else entry.node)
        if node is not None and node not in self.cpus:
            raise ConfigError(f"{address}: there is no NUMA node {node}")
        kinds = [
            name
            for name in ("gpu", "nic", "nvswitch", "nvme", "display")
            if getattr(entry, name) is not None
        ] or (["nic"] if entry.net is not None else [])
        match kinds:
            case ["gpu"]:
                return (self._gpu(entry, address, node, port),)
            case ["nic"]:
                return self._nics.make(entry, address, node, port=port)
            case ["nvswitch"]:
                return (self._nvswitch(address, node, port),)
            case ["nvme"]:
                return (self._nvme(entry, address, node, port),)
            case ["display"]:
                return (_display(address, node, port),)
        raise ConfigError(
            f"{address}: an entry is exactly one of gpu, nic or net, nvswitch, nvme, display, "
            f"switch; here: {', '.join(kinds) or 'none'}"
        )

    def _gpu(self, entry: Entry, address: Address, node: int | None, port: PortType) -> Function:
        model = parts.shipped().gpu(self.profile.gpu)
        index = entry.gpu or 0
        gpu = GpuSpec(
            index=index,
            uuid=identity.gpu_uuid(self.identity, index),
            serial=identity.serial(self.identity, f"gpu/{index}"),
            address=str(address),
            model=model,
            numa_node=node,
            memory_numa_node=entry.memory_node,
            module_id=entry.module,
            cpu_affinity=self._affinity(entry, node),
            cpu_affinity_socket=self._socket_cpus(entry, node),
            memory_affinity=self._memory_affinity(entry, node),
            board_id=entry.board,
        )
        return Function(
            address=str(address),
            ids=_gpu_ids(model),
            numa_node=node,
            port=port,
            pcie=_link(model.pcie_generation, model.pcie_width),
            driver="nvidia",
            role=gpu,
        )

    def _affinity(self, entry: Entry, node: int | None) -> tuple[int, ...]:
        if entry.cpus is not None:
            return lists.parse(entry.cpus, what=f"GPU {entry.gpu}: cpus")
        return self._all_cpus() if node is None else self.cpus[node]

    def _socket_cpus(self, entry: Entry, node: int | None) -> tuple[int, ...]:
        if node is None or entry.cpus == "":
            return self._affinity(entry, node)
        socket = self.sockets[node]
        nodes = [other for other, home in self.sockets.items() if home == socket]
        return tuple(sorted(cpu for other in nodes for cpu in self.cpus[other]))

    def _memory_affinity(self, entry: Entry, node: int | None) -> tuple[int, ...]:
        if entry.memory is not None:
            return lists.parse(entry.memory, what=f"GPU {entry.gpu}: memory")
        return tuple(sorted(self.cpus)) if node is None else (node,)

    def _all_cpus(self) -> tuple[int, ...]:
        return tuple(sorted(cpu for cpus in self.cpus.values() for cpu in cpus))

    def _nvswitch(self, address: Address, node: int | None, port: PortType) -> Function:
        model = parts.shipped().gpu(self.profile.gpu)
        device = _NVSWITCH_DEVICES.get(model.architecture)
        if device is None:
            raise ConfigError(
                f"{address}: the NVSwitches beside {model.name} have no PCI function of their own"
            )
        self.nvswitches.append(str(address))
        return Function(
            address=str(address),
            ids=PciIds(
                vendor=_NVIDIA,
                device=device,
                subsystem_vendor=_NVIDIA,
                subsystem_device=0,
                class_code=0x068000,
                revision=0xA1,
            ),
            numa_node=node,
            port=port,
            pcie=_link(model.pcie_generation, 2),
            driver="nvidia-nvswitch",
        )

    def _nvme(self, entry: Entry, address: Address, node: int | None, port: PortType) -> Function:
        name = entry.nvme or ""
        return Function(
            address=str(address),
            ids=PciIds(
                vendor=0x144D,
                device=0xA824,
                subsystem_vendor=0x144D,
                subsystem_device=0xA801,
                class_code=0x010802,
            ),
            numa_node=node,
            port=port,
            pcie=_link(4, 4),
            driver="nvme",
            role=NvmeSpec(
                name=name,
                model=_NVME_MODEL,
                serial="S" + identity.serial(self.identity, f"nvme/{name}"),
            ),
        )


def _gpu_ids(model: GpuModel) -> PciIds:
    return PciIds(
        vendor=_NVIDIA,
        device=int(model.device_id, 16),
        subsystem_vendor=_NVIDIA,
        subsystem_device=int(model.subsystem_id, 16),
        class_code=int(model.pci_class, 16),
        revision=0xA1,
    )


def _display(address: Address, node: int | None, port: PortType) -> Function:
    """Return the ASPEED display of a management controller: a VGA device that is no GPU."""
    return Function(
        address=str(address),
        ids=PciIds(
            vendor=0x1A03,
            device=0x2000,
            subsystem_vendor=0x1A03,
            subsystem_device=0x2000,
            class_code=0x030000,
            revision=0x52,
        ),
        numa_node=node,
        port=port,
        pcie=_link(1, 1),
        driver="ast",
    )


def _link(generation: int, width: int) -> PcieSpec:
    return PcieSpec(
        max_generation=generation,
        max_width=width,
        current_generation=generation,
        current_width=width,
    )
