"""Finds the NUMA nodes of a captured machine, and the node of each device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from agent.model.inventory import Distance
from agent.simulation import lists
from agent.simulation.capture import Capture, CapturedGpu
from agent.simulation.clusters import Relations, components
from agent.simulation.profile import MemoryNodes, Node

_MOST_NODES = 1024  # MAX_NUMNODES of distribution kernels
_CPUS_OF_A_NODE = 16  # where a capture tells no CPU at all: a container's


class Nodes(Struct, frozen=True, kw_only=True):
    """NUMA nodes, and where devices are."""

    sockets: tuple[tuple[Node, ...], ...]
    memory_nodes: tuple[MemoryNodes, ...]
    threads: int
    of: Mapping[str, int]
    """Node of each device by column name; -1 for none."""
    guessed: bool
    """True where the capture tells no node of some GPU."""


def find(capture: Capture, relations: Relations, *, memory_gib: int) -> Nodes:
    """Return the nodes; ``memory_gib`` is what a coherent GPU has."""
    told = _told(capture)
    of = _place(capture, relations, told)
    coherent = {gpu.memory_node for gpu in capture.gpus if gpu.memory_node is not None}
    beside = _memory_nodes(capture, of)
    highest = max((*of.values(), *_mentioned(capture)), default=0)
    with_cpus = [n for n in range(max(highest, 0) + 1) if n not in beside and n not in coherent]
    cpus, threads = _cpus(capture, of, with_cpus)
    return Nodes(
        sockets=_sockets(with_cpus, cpus),
        memory_nodes=_grouped(beside, coherent, memory_gib),
        threads=threads,
        of=of,
        guessed=any(not gpu.numa_affinity for gpu in capture.gpus),
    )


def _mentioned(capture: Capture) -> Iterable[int]:
    return (node for gpu in capture.gpus for node in gpu.numa_affinity or ())


def _told(capture: Capture) -> dict[str, int]:
    """Return the nodes of GPUs that the capture tells."""
    lists_of_nodes = [gpu.numa_affinity for gpu in capture.gpus if gpu.numa_affinity]
    if lists_of_nodes:
        coherent = any(gpu.memory_node is not None for gpu in capture.gpus)
        # All GPUs near all of several nodes: the kernel was told no node.
        nowhere = not coherent and len(lists_of_nodes[0]) > 1 and len(set(lists_of_nodes)) == 1
        return {
            gpu.name: -1 if nowhere else min(gpu.numa_affinity)
            for gpu in capture.gpus
            if gpu.numa_affinity
        }
    affinities = sorted({gpu.cpu_affinity for gpu in capture.gpus if gpu.cpu_affinity})
    return {
        gpu.name: affinities.index(gpu.cpu_affinity) for gpu in capture.gpus if gpu.cpu_affinity
    }


def _place(capture: Capture, relations: Relations, told: Mapping[str, int]) -> dict[str, int]:
    """Return a node for every device: told, its nearest neighbour's, or one nobody contradicts."""
    of = dict(told)
    for name in capture.devices:
        near = _nearest(name, relations, told)
        if name not in of and near is not None:
            of[name] = told[near]
    groups = components(capture.devices, relations, Distance.NODE)
    for group in groups:
        homeless = [name for name in group if name not in of]
        if homeless:
            node = _free_node(homeless, relations, of, known=bool(told), capture=capture)
            of |= dict.fromkeys(homeless, node)
    return of


def _nearest(name: str, relations: Relations, told: Mapping[str, int]) -> str | None:
    """Return the placed device that is nearest, if it is in the same node at all."""
    order = list(Distance)
    found = [
        (order.index(distance), place, other)
        for place, other in enumerate(told)
        if (distance := relations.get(frozenset((name, other)))) is not None
        and distance is not Distance.SYS
        and told[other] >= 0
    ]
    return min(found)[2] if found else None


def _free_node(
    names: Sequence[str],
    relations: Relations,
    of: Mapping[str, int],
    *,
    known: bool,
    capture: Capture,
) -> int:
    """Return the first node where no device says SYS to one of these; -1 where there is none.

    Where the capture tells no nodes at all, there are as many as it takes.
    """
    highest = max((*of.values(), *_mentioned(capture)), default=-1)
    memory = {gpu.memory_node for gpu in capture.gpus}
    for node in range(highest + 1 if known else _MOST_NODES):
        held = [other for other, home in of.items() if home == node]
        contradicted = any(
            relations.get(frozenset((name, other))) is Distance.SYS
            for name in names
            for other in held
        )
        reserved = any(_is_reserve(gpu, node) for gpu in capture.gpus)
        if not contradicted and node not in memory and not reserved:
            return node
    return -1


def _is_reserve(gpu: CapturedGpu, node: int) -> bool:
    """Tell a node kept for MIG slices of a coherent GPU."""
    return gpu.memory_node is not None and node in (gpu.numa_affinity or ())[1:]


def _memory_nodes(capture: Capture, of: Mapping[str, int]) -> dict[int, int]:
    """Return the nodes without CPUs of coherent GPUs, with the node they are beside."""
    beside: dict[int, int] = {}
    for gpu in capture.gpus:
        if gpu.memory_node is not None:
            home = of[gpu.name]
            near = (gpu.memory_node, *(n for n in gpu.numa_affinity or () if n != home))
            beside |= dict.fromkeys(near, home)
    return beside


def _grouped(
    beside: Mapping[int, int], coherent: Iterable[int], memory_gib: int
) -> tuple[MemoryNodes, ...]:
    """Return memory nodes in groups that each start with a GPU's own."""
    starts = sorted(coherent)
    groups: dict[int, list[int]] = {start: [] for start in starts}
    for node in sorted(beside):
        earlier = [start for start in starts if start <= node]
        groups[earlier[-1] if earlier else starts[0]].append(node)
    return tuple(
        MemoryNodes(nodes=lists.render(nodes), beside=beside[start], memory_gib=memory_gib)
        for start, nodes in groups.items()
    )


def _cpus(
    capture: Capture, of: Mapping[str, int], nodes: Sequence[int]
) -> tuple[dict[int, list[int]], int]:
    """Return the CPUs of each node, and the threads of a core.

    Nodes without a GPU share the CPUs no GPU is near, in order.
    """
    cpus: dict[int, list[int]] = {node: [] for node in nodes}
    taken: set[int] = set()
    for gpu in capture.gpus:
        if of[gpu.name] in cpus:
            fresh = set(gpu.cpu_affinity or ()) - taken
            cpus[of[gpu.name]] += sorted(fresh)
            taken |= fresh
    every = {cpu for gpu in capture.gpus for cpu in gpu.cpu_affinity or ()}
    total = max(every, default=_CPUS_OF_A_NODE * len(nodes) - 1) + 1
    threads = 2 if _has_threads(cpus, total) else 1
    first = [cpu for cpu in range(total // threads) if cpu not in taken]
    empty = [node for node in nodes if not cpus[node]]
    for place, node in enumerate(empty):
        share = first[len(first) * place // len(empty) : len(first) * (place + 1) // len(empty)]
        siblings = [cpu + total // 2 for cpu in share] if threads == 2 else []
        cpus[node] = [*share, *siblings]
    return cpus, threads


def _has_threads(cpus: Mapping[int, Sequence[int]], total: int) -> bool:
    """Tell whether each node's CPUs are its cores and, half of all CPUs on, their siblings."""
    half, odd = divmod(total, 2)
    filled = [sorted(members) for members in cpus.values() if members]
    return (
        bool(filled)
        and not odd
        and all(
            len(members) % 2 == 0
            and [cpu + half for cpu in members[: len(members) // 2]] == members[len(members) // 2 :]
            for members in filled
        )
    )


def _sockets(
    nodes: Sequence[int], cpus: Mapping[int, Sequence[int]]
) -> tuple[tuple[Node, ...], ...]:
    """Return two sockets where the nodes can be halved, else one for each node."""
    made = [Node(node=node, cpus=lists.render(cpus[node])) for node in nodes]
    size = len(made) // 2 if len(made) % 2 == 0 else 1
    return tuple(tuple(made[start : start + size]) for start in range(0, len(made), max(size, 1)))
