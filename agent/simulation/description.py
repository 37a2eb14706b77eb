"""Writes the description the simulated driver's state is made from (docs/simulated-machine.md)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from agent.model.inventory import Distance
from agent.simulation import lists, tree
from agent.simulation.parts import shipped
from agent.simulation.spec import GpuSpec, LinkSpec, MachineSpec

_MIB = 1 << 20
_ANCESTORS = {
    Distance.PIX: "single",
    Distance.PXB: "multiple",
    Distance.PHB: "hostbridge",
    Distance.NODE: "node",
    Distance.SYS: "system",
}
_C2C_MBPS = 44712  # MB/s of one chip-to-chip link, as nvidia-smi c2c prints it on Grace Hopper


def render(spec: MachineSpec) -> str:
    """Return the description: one fact a line."""
    lines = itertools.chain(_system(spec), _gpus(spec), _links(spec), _pairs(spec))
    return "".join(f"{line}\n" for line in lines)


def _system(spec: MachineSpec) -> Iterator[str]:
    yield "machine 1"
    yield f"system driver_version {spec.driver_version}"
    yield f"system cuda_version {spec.cuda_version}"


def _gpus(spec: MachineSpec) -> Iterator[str]:
    for gpu in spec.gpus:
        for field, value in _gpu(spec, gpu).items():
            yield f"gpu {gpu.index} {field} {value}"
        yield from _mig_profiles(gpu)


def _mig_profiles(gpu: GpuSpec) -> Iterator[str]:
    for row in shipped().mig_table(gpu.model):
        for field, value in msgspec.structs.asdict(row).items():
            if field != "number":
                yield f"mig_profile {gpu.index} {row.number} {field} {value}"


def _gpu(spec: MachineSpec, gpu: GpuSpec) -> dict[str, object]:
    return _identity(gpu) | _resources(gpu) | _place(gpu) | _surroundings(spec, gpu)


def _identity(gpu: GpuSpec) -> dict[str, object]:
    model = gpu.model
    return {
        "uuid": gpu.uuid,
        "name": model.name,
        "brand": model.brand,
        "architecture": model.architecture,
        "compute_capability": model.compute_capability,
        "serial": gpu.serial,
        "minor": gpu.index,
        "pci_address": gpu.address,
        "pci_device_id": f"{model.device_id}10de",
        "pci_subsystem_id": f"{model.subsystem_id}10de",
        "pci_class": model.pci_class,
    }


def _resources(gpu: GpuSpec) -> dict[str, object]:
    model = gpu.model
    clocks, power = model.clocks, model.power
    top = {
        "graphics": clocks.graphics,
        "sm": clocks.sm or clocks.graphics,
        "memory": clocks.memory,
        "video": clocks.video or clocks.graphics,
    }
    return {
        "memory_total_bytes": model.memory_mib * _MIB,
        "memory_reserved_bytes": model.reserved_mib * _MIB,
        "memory_bus_width_bits": model.bus_width_bits,
        "bar1_total_bytes": model.bar1_mib * _MIB,
        "gpu_cores": model.cores,
        "ecc_mode": "on" if model.ecc else "none",
        "ecc_pending": "on" if model.ecc else "none",
        "mig_mode": "off" if model.mig else "none",
        "mig_pending": "off" if model.mig else "none",
        "power_usage_mw": power.idle * 1000,
        "power_limit_mw": power.default * 1000,
        "power_default_limit_mw": power.default * 1000,
        "power_min_limit_mw": power.min * 1000,
        "power_max_limit_mw": power.max * 1000,
        **{f"clock_{domain}_mhz": value for domain, value in top.items()},
        **{f"clock_max_{domain}_mhz": value for domain, value in top.items()},
        "pcie_max_generation": model.pcie_generation,
        "pcie_max_width": model.pcie_width,
    }


def _place(gpu: GpuSpec) -> dict[str, object]:
    optional: dict[str, object | None] = {
        "board_id": gpu.board_id,
        "module_id": gpu.module_id,
        "numa_node_id": gpu.memory_numa_node,
    }
    affinity = {
        "cpu_affinity": gpu.cpu_affinity,
        "cpu_affinity_socket": gpu.cpu_affinity_socket,
        "memory_affinity": gpu.memory_affinity,
    }
    return {name: value for name, value in optional.items() if value is not None} | {
        name: lists.render(numbers) for name, numbers in affinity.items() if numbers
    }


def _surroundings(spec: MachineSpec, gpu: GpuSpec) -> dict[str, object]:
    told: dict[str, object] = {}
    if spec.fabric is not None and gpu.model.fabric:
        told["fabric_state"] = spec.fabric.state
        told["fabric_cluster_uuid"] = spec.fabric.cluster_uuid
        told["fabric_clique_id"] = spec.fabric.clique_id
    if spec.platform is not None:
        told["platform_chassis_serial"] = spec.platform.chassis_serial
        told["platform_slot_number"] = spec.platform.slot_number
        told["platform_tray_index"] = spec.platform.tray_index
        told["platform_host_id"] = spec.platform.host_id
        told["platform_peer_type"] = spec.platform.peer_type
        told["platform_fabric_guid"] = spec.platform.fabric_guid
    if gpu.model.c2c_links:
        told["c2c_links"] = gpu.model.c2c_links
        told["c2c_max_bandwidth_mbps"] = _C2C_MBPS
    return told


def _links(spec: MachineSpec) -> Iterator[str]:
    for link in spec.links:
        for field, value in _link(spec, link).items():
            yield f"nvlink {link.gpu} {link.index} {field} {value}"


def _link(spec: MachineSpec, link: LinkSpec) -> dict[str, object]:
    ports = spec.gpus[link.gpu].model.nvlinks
    told: dict[str, object] = {
        "state": "up" if link.up else "down",
        "remote_type": link.peer,
        "remote_pci_address": link.peer_address or "none",
    }
    if ports is not None:
        told |= {"version": ports.version, "speed_mbps": ports.speed_mbps}
    return told


def _pairs(spec: MachineSpec) -> Iterator[str]:
    places = tree.by_address(spec)
    for a, b in itertools.combinations(spec.gpus, 2):
        told = spec.ancestors.get((a.index, b.index))
        distance = told or tree.distance(spec, places[a.address], places[b.address])
        one_board = a.board_id is not None and a.board_id == b.board_id
        ancestor = "internal" if one_board and not told else _ANCESTORS[distance]
        yield f"pair {a.index} {b.index} ancestor {ancestor}"
        refused = a.model.peer_access or b.model.peer_access
        if refused is not None:
            yield f"pair {a.index} {b.index} p2p {refused}"
