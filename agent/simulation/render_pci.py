"""Renders the PCI tree as the kernel shows it below /sys/devices, /sys/bus and /sys/kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agent.simulation import addresses, config_space, iommu, lists, render_devices, tree
from agent.simulation.entries import Entry, File, Folder, Link, text
from agent.simulation.spec import (
    Bridge,
    Function,
    HostBridge,
    MachineSpec,
    PcieSpec,
    PciIds,
    PortType,
)

_SPEEDS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}  # GT/s by generation


def render(spec: MachineSpec) -> Iterator[Entry]:
    """Yield everything PCI."""
    cpus = {node.id: node.cpus for node in spec.numa_nodes}
    every = tuple(cpu.id for cpu in spec.cpus)
    width = max(every, default=0) + 1
    cards = Counter(f.address.rpartition(".")[0] for f in tree.functions_of(spec.roots))
    devices = render_devices.Numbering()
    for root in spec.roots:
        yield from _bus(
            f"sys/devices/{root.name}", root, root.bus, _near(cpus, every, root.numa_node)
        )
    for placed in tree.walk(spec.roots):
        folder = f"sys/devices/{placed.path}"
        device = placed.device
        near = _near(cpus, every, device.numa_node)
        yield Link(f"sys/bus/pci/devices/{device.address}", folder)
        yield Link(f"{folder}/subsystem", "sys/bus/pci")
        yield from _attributes(folder, device, near, width=width)
        if isinstance(device, Bridge):
            yield from _bridge(folder, device)
            yield from _bus(folder, placed.root, device.secondary, near)
        else:
            many = cards[device.address.rpartition(".")[0]] > 1
            yield File(f"{folder}/config", config_space.of_function(device, multi_function=many))
            yield from _virtual_functions(folder, device)
            yield from devices.render(folder, device)
    if spec.iommu:
        yield from iommu.render(spec.roots)
    yield Folder("sys/bus/pci/slots")


def _near(
    cpus: dict[int, tuple[int, ...]], every: tuple[int, ...], node: int | None
) -> tuple[int, ...]:
    """Return the CPUs beside a node; without a node the kernel says all of them."""
    return every if node is None else cpus[node]


def _attributes(
    folder: str, device: Bridge | Function, near: tuple[int, ...], *, width: int
) -> Iterator[Entry]:
    ids = device.ids
    yield text(f"{folder}/vendor", f"0x{ids.vendor:04x}")
    yield text(f"{folder}/device", f"0x{ids.device:04x}")
    yield text(f"{folder}/subsystem_vendor", f"0x{ids.subsystem_vendor:04x}")
    yield text(f"{folder}/subsystem_device", f"0x{ids.subsystem_device:04x}")
    yield text(f"{folder}/class", f"0x{ids.class_code:06x}")
    yield text(f"{folder}/revision", f"0x{ids.revision:02x}")
    yield text(f"{folder}/modalias", _modalias(ids))
    yield text(f"{folder}/numa_node", -1 if device.numa_node is None else device.numa_node)
    yield text(f"{folder}/local_cpulist", lists.render(near))
    yield text(f"{folder}/local_cpus", lists.mask(near, width))
    yield text(f"{folder}/enable", 1)
    yield text(f"{folder}/power_state", "D0")
    yield from _link(folder, device.port, device.pcie)
    driver = "pcieport" if isinstance(device, Bridge) else device.driver
    if driver is not None:
        yield Link(f"{folder}/driver", f"sys/bus/pci/drivers/{driver}")
        yield Link(f"sys/bus/pci/drivers/{driver}/{device.address}", folder)
    yield File(f"{folder}/uevent", _uevent(device, driver))


def _link(folder: str, port: PortType, link: PcieSpec) -> Iterator[Entry]:
    known = port is not PortType.INTEGRATED  # no link leads to a device on the root bus
    for word, generation, width in (
        ("max", link.max_generation, link.max_width),
        ("current", link.current_generation, link.current_width),
    ):
        speed = f"{_SPEEDS[generation]} GT/s PCIe" if known else "Unknown"
        yield text(f"{folder}/{word}_link_speed", speed)
        yield text(f"{folder}/{word}_link_width", width if known else 0)


def _bridge(folder: str, bridge: Bridge) -> Iterator[Entry]:
    address = addresses.parse(bridge.address, domain=0, what="bridge")
    yield File(f"{folder}/config", config_space.of_bridge(bridge, address))
    yield text(f"{folder}/secondary_bus_number", bridge.secondary)
    yield text(f"{folder}/subordinate_bus_number", bridge.subordinate)


def _bus(folder: str, root: HostBridge, bus: int, near: tuple[int, ...]) -> Iterator[Entry]:
    name = f"{root.domain:04x}:{bus:02x}"
    yield text(f"{folder}/pci_bus/{name}/cpulistaffinity", lists.render(near))
    yield Link(f"sys/class/pci_bus/{name}", f"{folder}/pci_bus/{name}")


def _virtual_functions(folder: str, function: Function) -> Iterator[Entry]:
    beside = folder.rpartition("/")[0]
    if function.physical_function is not None:
        yield Link(f"{folder}/physfn", f"{beside}/{function.physical_function}")
    if function.virtual_functions:
        count = len(function.virtual_functions)
        yield text(f"{folder}/sriov_totalvfs", count)
        yield text(f"{folder}/sriov_numvfs", count)
    for number, virtual in enumerate(function.virtual_functions):
        yield Link(f"{folder}/virtfn{number}", f"{beside}/{virtual.address}")


def _modalias(ids: PciIds) -> str:
    base, sub, interface = ids.class_code.to_bytes(3)
    return (
        f"pci:v{ids.vendor:08X}d{ids.device:08X}"
        f"sv{ids.subsystem_vendor:08X}sd{ids.subsystem_device:08X}"
        f"bc{base:02X}sc{sub:02X}i{interface:02X}"
    )


def _uevent(device: Bridge | Function, driver: str | None) -> bytes:
    ids = device.ids
    lines = [] if driver is None else [f"DRIVER={driver}"]
    lines += [
        f"PCI_CLASS={ids.class_code:X}",
        f"PCI_ID={ids.vendor:04X}:{ids.device:04X}",
        f"PCI_SUBSYS_ID={ids.subsystem_vendor:04X}:{ids.subsystem_device:04X}",
        f"PCI_SLOT_NAME={device.address}",
        f"MODALIAS={_modalias(ids)}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()
