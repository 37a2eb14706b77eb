"""The topology of a container's devices, as the container finds it in a file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from msgspec.structs import asdict

from agent.model.inventory import Gpu
from agent.planning.nics import Allotment
from agent.planning.snapshot import Snapshot
from agent.planning.sockets import sockets_of

VERSION = 1
CONTAINER_PATH = "/run/plumbline/topology.json"
"""Where the container finds it; documented, so it never changes."""
PATH_VARIABLE = "PLUMBLINE_TOPOLOGY"


def summary(
    snapshot: Snapshot,
    resource: str,
    devices: Sequence[str],
    gpus: Sequence[Gpu],
    allotment: Allotment,
) -> dict[str, Any]:
    """Return the topology of one container's devices (docs/nics.md); bandwidths in GB/s."""
    return {
        "version": VERSION,
        "resource": resource,
        "devices": sorted(devices),
        "gpus": [_gpu(snapshot, gpu) for gpu in gpus],
        "pairs": list(_pairs(snapshot, gpus)),
        "nics": [_nic(snapshot, name) for name in allotment.nics],
        "rails": [asdict(rail) for rail in allotment.rails],
        "missing_rails": [asdict(missing) for missing in allotment.missing],
    }


def _gpu(snapshot: Snapshot, gpu: Gpu) -> dict[str, Any]:
    sockets = sockets_of(snapshot.inventory.numa_nodes)
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "pci_address": gpu.address,
        "numa_node": gpu.numa_node,
        "socket": None if gpu.numa_node is None else sockets.get(gpu.numa_node),
    }


def _nic(snapshot: Snapshot, name: str) -> dict[str, Any]:
    nic = next(nic for nic in snapshot.inventory.nics if nic.name == name)
    return {
        "name": nic.name,
        "pci_address": nic.address,
        "numa_node": nic.numa_node,
        "device_node": nic.verbs_node,
        "link_layer": next((port.link_layer for port in nic.ports), None),
        "rate_gbps": next((port.rate_gbps for port in nic.ports), None),
        "interfaces": list(nic.interfaces),
    }


def _pairs(snapshot: Snapshot, gpus: Iterable[Gpu]) -> Iterable[dict[str, Any]]:
    table = snapshot.placement
    for a, b in combinations(gpus, 2):
        ranks = table.rank(a.uuid), table.rank(b.uuid)
        if ranks[0] is not None and ranks[1] is not None:
            yield {
                "a": a.uuid,
                "b": b.uuid,
                "path": table.model.pair_words[ranks[0]][ranks[1]],
                "gbps": table.model.pair_gbps[ranks[0]][ranks[1]],
            }
