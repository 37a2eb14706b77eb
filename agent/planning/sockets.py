"""Which socket a NUMA node is on: by its CPUs' package, else by how near nodes are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from agent.model.inventory import NumaNode


def sockets_of(nodes: Sequence[NumaNode]) -> Mapping[int, int | None]:
    """Return the socket of every NUMA node by id; None where nothing tells.

    ``physical_package_id`` counts. Where it is missing (some VMs hide it), nodes with CPUs that
    are at the smallest of several distances (ACPI's SLIT) share a socket, as under SNC and NPS;
    such sockets have numbers from 0 that no package has. Distances that make no groups tell
    nothing, and neither does a single distance.
    """
    found: dict[int, int | None] = {node.id: node.socket for node in nodes}
    if all(node.socket is not None for node in nodes if node.cpus):
        return found
    taken = {socket for socket in found.values() if socket is not None}
    numbers = (n for n in range(len(nodes) + len(taken)) if n not in taken)
    for group in _groups([node for node in nodes if node.cpus]):
        packages = {node.socket for node in group} - {None}
        if len(packages) <= 1:
            socket = next(iter(packages), None)
            number = next(numbers) if socket is None else socket
            found.update({node.id: number for node in group})
    return found


def _groups(nodes: Sequence[NumaNode]) -> list[list[NumaNode]]:
    """Return nodes that are nearest to each other, each in one group; none where they overlap."""
    apart = {_distance(a, b) for a, b in combinations(nodes, 2)}
    if None in apart or len(apart) < 2:
        return []
    nearest = min(distance for distance in apart if distance is not None)
    groups: list[list[NumaNode]] = []
    for node in nodes:
        mates = [g for g in groups if any(_distance(node, other) == nearest for other in g)]
        if len(mates) > 1:
            return []
        if not mates:
            groups.append([node])
        elif all(_distance(node, other) == nearest for other in mates[0]):
            mates[0].append(node)
        else:
            return []
    return groups


def _distance(a: NumaNode, b: NumaNode) -> int | None:
    """Return the larger of both ways; None where it is not known."""
    ways = (a.distances.get(b.id), b.distances.get(a.id))
    return None if None in ways else max(way for way in ways if way is not None)
