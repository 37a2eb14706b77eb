"""Joins NVML with sysfs by PCI address into one Inventory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, product

import pynvml
from msgspec.structs import replace

from agent import _native
from agent.discovery import gpus, sysfs
from agent.discovery.device_nodes import DeviceNodes
from agent.discovery.faults import optional, translated
from agent.discovery.gpus import GpuReading
from agent.discovery.library import Session
from agent.model.inventory import Distance, Gpu, Inventory, Nic, PairDistance

Overrides = Mapping[frozenset[str], Distance]


def observe(session: Session, *, overrides: Overrides, dev_root: str = "/") -> Inventory:
    """Read the whole node once.

    ``overrides`` are the operator's distances (discovery.locality); ``dev_root`` is where the
    node's ``/dev`` is mounted for us.

    Raises HardwareError when the driver cannot list its GPUs. A single GPU, NIC or file that
    fails never raises: it is absent, and the Inventory says why.
    """
    machine = session.machine
    with translated("asking for the driver's version"):
        driver_version = pynvml.nvmlSystemGetDriverVersion()
        nvml_version = pynvml.nvmlSystemGetNVMLVersion()
        cuda = optional(pynvml.nvmlSystemGetCudaDriverVersion) or 0
    tree = _native.read_system(str(machine.root))
    readings, unavailable = gpus.read_gpus()
    nodes = DeviceNodes(machine, dev_root)
    verbs = nodes.verbs_nodes()
    nics = tuple(replace(nic, verbs_node=verbs.get(nic.name)) for nic in sysfs.nics(tree))
    pairs, unknown = _distances(tree, readings, nics, overrides)
    odd = tuple(f"GPU {r.uuid}: {oddity}" for r in readings for oddity in r.oddities)
    return Inventory(
        driver_version=driver_version,
        nvml_version=nvml_version,
        cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}",
        gpus=tuple(_gpu(tree, reading, nodes) for reading in readings),
        unavailable=unavailable,
        nics=nics,
        numa_nodes=sysfs.numa_nodes(tree),
        pairs=pairs,
        nvswitches=sysfs.addresses(tree.nvswitches),
        nvmes=sysfs.addresses(tree.nvmes),
        control_nodes=nodes.control_nodes(),
        feature_nodes=nodes.feature_nodes(),
        warnings=(*tree.warnings, *odd, *unknown, *_unused(overrides, readings, nics)),
    )


def _gpu(tree: _native.SystemTree, reading: GpuReading, nodes: DeviceNodes) -> Gpu:
    position = sysfs.position(tree, reading.address)
    return Gpu(
        index=reading.index,
        uuid=reading.uuid,
        name=reading.name,
        brand=reading.brand,
        architecture=reading.architecture,
        compute_capability=reading.compute_capability,
        serial=reading.serial,
        minor=reading.minor,
        module_id=reading.module_id,
        board_id=reading.board_id,
        memory_bytes=reading.memory_bytes,
        numa_node=_cpu_node(tree, reading, position.numa_node if position else None),
        memory_numa_node=reading.memory_numa_node,
        cpu_affinity=reading.cpu_affinity,
        memory_affinity=reading.memory_affinity,
        position=position,
        address=reading.address,
        pcie=reading.pcie,
        mig=reading.mig,
        partition=reading.partition and nodes.with_access(reading.partition, reading.minor),
        links=reading.links,
        c2c_links=reading.c2c_links,
        fabric=reading.fabric,
        drm_nodes=nodes.drm_nodes(reading.address),
    )


def _cpu_node(tree: _native.SystemTree, reading: GpuReading, from_sysfs: int | None) -> int | None:
    # In VMs and on some boards numa_node is -1 while the driver still knows the CPUs beside
    # the GPU: the one node that has all of them is then the answer.
    if from_sysfs is not None:
        return from_sysfs
    cpus = set(reading.cpu_affinity)
    homes = [node.id for node in tree.numa_nodes if cpus and cpus <= set(node.cpus)]
    return homes[0] if len(homes) == 1 else None


def _distances(
    tree: _native.SystemTree,
    readings: tuple[GpuReading, ...],
    nics: tuple[Nic, ...],
    overrides: Overrides,
) -> tuple[tuple[PairDistance, ...], tuple[str, ...]]:
    pairs: list[PairDistance] = []
    unknown: list[str] = []
    for (a, b), measured in _measured(tree, readings, nics):
        stated = _stated(overrides, a, b)
        distance = stated or measured
        if distance is None:
            unknown.append(f"the distance of {a[0]} and {b[0]} is unknown: taken as SYS")
            distance = Distance.SYS
        pairs.append(
            PairDistance(
                a=a[0], b=b[0], distance=distance, overridden=stated not in {None, measured}
            )
        )
    return tuple(pairs), tuple(unknown)


# A device's names: what pairs are keyed by first, then what a locality file may call it.
Names = tuple[str, ...]


def _measured(
    tree: _native.SystemTree, readings: tuple[GpuReading, ...], nics: tuple[Nic, ...]
) -> Iterator[tuple[tuple[Names, Names], Distance | None]]:
    for a, b in combinations(readings, 2):
        ancestor = gpus.common_ancestor(a.handle, b.handle)
        if ancestor is None:
            ancestor = sysfs.distance(tree, a.address, b.address)
        yield (_gpu_names(a), _gpu_names(b)), ancestor
    for gpu, nic in product(readings, nics):
        yield (_gpu_names(gpu), _nic_names(nic)), _by_address(tree, gpu.address, nic.address)
    for one, other in combinations(nics, 2):
        yield (_nic_names(one), _nic_names(other)), _by_address(tree, one.address, other.address)


def _by_address(tree: _native.SystemTree, a: str | None, b: str | None) -> Distance | None:
    return None if a is None or b is None else sysfs.distance(tree, a, b)


def _gpu_names(reading: GpuReading) -> Names:
    return (reading.uuid, reading.address)


def _nic_names(nic: Nic) -> Names:
    return (nic.name,) if nic.address is None else (nic.name, nic.address)


def _stated(overrides: Overrides, a: Names, b: Names) -> Distance | None:
    if not overrides:
        return None
    found = (overrides.get(frozenset(pair)) for pair in product(a, b))
    return next((distance for distance in found if distance is not None), None)


def _unused(
    overrides: Overrides, readings: Iterable[GpuReading], nics: Iterable[Nic]
) -> tuple[str, ...]:
    known = {name for reading in readings for name in _gpu_names(reading)}
    known |= {name for nic in nics for name in _nic_names(nic)}
    stray = sorted({name for pair in overrides for name in pair} - known)
    return tuple(f"the locality file names {name}, which this node does not have" for name in stray)
