"""Expands a profile into the machine it describes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from agent.model.errors import ConfigError
from agent.model.inventory import Distance
from agent.simulation import functions, lists, nvlinks, pci_tree, tree
from agent.simulation.profile import Node, Profile
from agent.simulation.spec import (
    CpuSpec,
    DistanceOverride,
    FabricSpec,
    GpuSpec,
    HostBridge,
    MachineSpec,
    NicSpec,
    NumaSpec,
    PlatformSpec,
)

_GIB = 1 << 30
_LOCAL = 10  # a node's distance to itself, by the ACPI specification


def expand(profile: Profile) -> MachineSpec:
    """Return the machine; raise ConfigError, naming the profile, for a shape that cannot be."""
    try:
        return _expand(profile)
    except ConfigError as error:
        raise ConfigError(f"profile {profile.name}: {error}") from error


def _expand(profile: Profile) -> MachineSpec:
    numa_nodes = _numa_nodes(profile)
    maker = functions.Maker(
        profile=profile,
        cpus={node.id: node.cpus for node in numa_nodes},
        sockets={node.id: node.socket for node in numa_nodes},
    )
    layout = pci_tree.Layout(
        root_port=profile.root_port, acs_redirect=profile.acs == "redirect", make=maker.make
    )
    _check_nodes(profile, numa_nodes)
    roots = tuple(layout.host_bridge(root) for root in profile.pci)
    gpus = _gpus(roots)
    switches = maker.nvswitches
    ancestors, overrides = _overrides(profile, roots, gpus)
    _check_roots(roots)
    _check_unique(roots)
    return MachineSpec(
        name=profile.name,
        summary=profile.summary,
        identity=maker.identity,
        architecture=profile.architecture,
        cpu_model=profile.cpu,
        driver_version=profile.driver,
        cuda_version=_cuda_version(profile.cuda),
        numa_nodes=numa_nodes,
        cpus=tuple(_cpus(profile)),
        roots=roots,
        gpus=gpus,
        links=nvlinks.wire(profile.nvlink, gpus, switches),
        fabric=_fabric(profile),
        platform=_platform(profile),
        ancestors=ancestors,
        overrides=overrides,
        iommu=profile.iommu,
    )


def _fabric(profile: Profile) -> FabricSpec | None:
    if profile.fabric is None:
        return None
    return FabricSpec(
        state=profile.fabric.state,
        cluster_uuid=profile.fabric.cluster_uuid,
        clique_id=profile.fabric.clique_id,
    )


def _platform(profile: Profile) -> PlatformSpec | None:
    told = profile.platform
    if told is None:
        return None
    return PlatformSpec(
        chassis_serial=told.chassis_serial,
        slot_number=told.slot_number,
        tray_index=told.tray_index,
        host_id=told.host_id,
        peer_type=told.peer_type,
        fabric_guid=told.fabric_guid,
    )


def _cuda_version(text: str) -> int:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdigit() and minor.isdigit()):
        raise ConfigError(f"cuda: '{text}' is no version like 12.8")
    return 1000 * int(major) + 10 * int(minor)


def _numa_nodes(profile: Profile) -> tuple[NumaSpec, ...]:
    plain = [node for nodes in profile.sockets for node in nodes]
    home = {node.node: socket for socket, nodes in enumerate(profile.sockets) for node in nodes}
    cpus = {node.node: lists.parse(node.cpus, what=f"node {node.node}") for node in plain}
    memory = {node.node: node.memory_gib * _GIB for node in plain}
    beside: dict[int, int] = {}
    for extra in profile.memory_nodes:
        numbers = lists.parse(extra.nodes, what="memory_nodes")
        if not numbers or extra.beside not in home:
            raise ConfigError(
                f"memory_nodes '{extra.nodes}': they must be some, beside a node with CPUs, "
                f"not {extra.beside}"
            )
        beside |= dict.fromkeys(numbers, extra.beside)
        memory |= dict.fromkeys(numbers, 0) | {numbers[0]: extra.memory_gib * _GIB}
    every = sorted(home.keys() | beside.keys())
    listed = [n for extra in profile.memory_nodes for n in lists.parse(extra.nodes, what="")]
    if len(every) != len(plain) + len(listed):
        raise ConfigError("a NUMA node stands twice among sockets and memory_nodes")
    return tuple(
        NumaSpec(
            id=node,
            cpus=cpus.get(node, ()),
            socket=home.get(node),
            memory_bytes=memory[node],
            distances={other: _slit(profile, home, beside, (node, other)) for other in every},
        )
        for node in every
    )


def _slit(
    profile: Profile, home: Mapping[int, int], beside: Mapping[int, int], pair: tuple[int, int]
) -> int:
    a, b = pair
    if a == b:
        return _LOCAL
    near = home.get(beside.get(a, a)) == home.get(beside.get(b, b))
    if a in beside or b in beside:
        return profile.slit.memory_near if near else profile.slit.memory_far
    return profile.slit.same_socket if near else profile.slit.other_socket


def _check_nodes(profile: Profile, nodes: Sequence[NumaSpec]) -> None:
    known = {node.id for node in nodes}
    for root in profile.pci:
        if root.node >= 0 and root.node not in known:
            raise ConfigError(f"root {root.root}: there is no NUMA node {root.node}")
    seen: set[int] = set()
    for node in nodes:
        if twice := seen & set(node.cpus):
            raise ConfigError(f"node {node.id}: CPU {min(twice)} belongs to another node too")
        seen |= set(node.cpus)


def _cpus(profile: Profile) -> Iterator[CpuSpec]:
    for socket, nodes in enumerate(profile.sockets):
        core = itertools.count()
        for node in nodes:
            yield from _node_cpus(profile.threads, socket, node, core)


def _node_cpus(threads: int, socket: int, node: Node, core: Iterator[int]) -> Iterator[CpuSpec]:
    numbers = lists.parse(node.cpus, what=f"node {node.node}")
    cores, odd = divmod(len(numbers), threads)
    if odd:
        raise ConfigError(f"node {node.node}: {len(numbers)} CPUs are no whole number of cores")
    for place in range(cores):
        siblings = numbers[place::cores]
        number = next(core)
        for cpu in siblings:
            yield CpuSpec(id=cpu, socket=socket, core=number, node=node.node, siblings=siblings)


def _gpus(roots: Sequence[HostBridge]) -> tuple[GpuSpec, ...]:
    found = [f.role for f in tree.functions_of(roots) if isinstance(f.role, GpuSpec)]
    gpus = tuple(sorted(found, key=lambda gpu: gpu.index))
    if [gpu.index for gpu in gpus] != list(range(len(gpus))):
        raise ConfigError(
            f"GPU indexes {[gpu.index for gpu in gpus]}: they must be 0, 1, 2 ... without a gap"
        )
    return gpus


def _check_unique(roots: Sequence[HostBridge]) -> None:
    seen: set[str] = set()
    names: set[str] = set()
    for placed in tree.walk(roots):
        if placed.device.address in seen:
            raise ConfigError(f"two devices at {placed.device.address}")
        seen.add(placed.device.address)
    for function in tree.functions_of(roots):
        for name in functions.names_of(function):
            if name in names:
                raise ConfigError(f"two devices named '{name}'")
            names.add(name)


def _check_roots(roots: Sequence[HostBridge]) -> None:
    ordered = sorted(roots, key=lambda root: (root.domain, root.bus))
    for one, following in itertools.pairwise(ordered):
        here, there = (root.name.removeprefix("pci") for root in (one, following))
        last = max((tree.last_bus(child) for child in one.children), default=one.bus)
        if here == there:
            raise ConfigError(f"root {here} stands twice")
        if one.domain == following.domain and last >= following.bus:
            raise ConfigError(
                f"root {there} lies inside the buses of root {here}, which needs them up to "
                f"{last:02x}"
            )


def _overrides(
    profile: Profile, roots: Sequence[HostBridge], gpus: Sequence[GpuSpec]
) -> tuple[dict[tuple[int, int], Distance], tuple[DistanceOverride, ...]]:
    """Return what the driver tells of GPU pairs, and what the locality file says of the others."""
    addresses = {f"GPU{gpu.index}": gpu.address for gpu in gpus}
    indexes = {f"GPU{gpu.index}": gpu.index for gpu in gpus}
    for function in tree.functions_of(roots):
        if isinstance(function.role, NicSpec):
            addresses[function.role.name] = function.address
    ancestors: dict[tuple[int, int], Distance] = {}
    overrides: list[DistanceOverride] = []
    for stated in profile.distances:
        a, b = stated.devices
        for name in (a, b):
            if name not in addresses:
                raise ConfigError(f"distances: there is no device '{name}'")
        if a in indexes and b in indexes:
            low, high = sorted((indexes[a], indexes[b]))
            ancestors[low, high] = stated.distance
        else:
            overrides.append(
                DistanceOverride(a=addresses[a], b=addresses[b], distance=stated.distance)
            )
    return ancestors, tuple(overrides)
