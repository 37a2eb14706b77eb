"""What placement knows of a node: its GPUs in stable order, and integers about them.

Bandwidths are GB/s in one direction, as a program that moves data between two GPUs can hope
for; they rank, they do not promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from agent._native import PlacementEngine
from agent.model.inventory import Distance, Gpu, Inventory, PciPosition, nvlinks_between
from agent.planning.nic_match import match_rounds
from agent.planning.rails import nics_beside
from agent.planning.sockets import sockets_of

# GB/s per NVLink and direction, by NVLink version (NVIDIA's data sheets: 20 on P100, 25 from
# V100 to H100, 50 on B200). A version that is not known counts as the slowest.
NVLINK_GBPS = {1: 20, 2: 25, 3: 25, 4: 25, 5: 50}
_SLOWEST_NVLINK_GBPS = 20

# What peer traffic gets over sixteen lanes of PCIe generation 4: more hops, and the way
# between sockets above all, cost.
PCIE_GBPS = {
    Distance.PIX: 24,
    Distance.PXB: 22,
    Distance.PHB: 16,
    Distance.NODE: 12,
    Distance.SYS: 8,
}
# MB/s per lane after encoding, by generation (PCI Express base specification); from 3 to 5 each
# exactly twice the one before, so that half the lanes of the next generation are no less.
_LANE_MBPS = {1: 250, 2: 500, 3: 985, 4: 1970, 5: 3940, 6: 7563}
_REFERENCE_MBPS = 16 * _LANE_MBPS[4]


class PlacementModel(Struct, frozen=True, kw_only=True):
    """GPUs by rank; all sequences are as long as ``uuids``."""

    uuids: tuple[str, ...]
    """In stable order: by position on the board, then by PCI address."""
    pair_gbps: tuple[tuple[int, ...], ...]
    """Symmetric; 0 on the diagonal."""
    pair_words: tuple[tuple[str, ...], ...]
    """What joins two GPUs: ``NV18``, ``PIX``."""
    numa: tuple[int, ...]
    """Bit mask of NUMA nodes, by the order of ``numa_nodes``."""
    numa_nodes: tuple[int, ...]
    socket: tuple[int, ...]
    sockets: tuple[int, ...]
    clique: tuple[int, ...]
    """GPUs that NVLink joins all alike have one number; -1 for the others."""
    rails: tuple[int, ...]
    """Bit mask of the NICs beside each GPU, by the order of ``rail_names``."""
    rail_names: tuple[str, ...]
    penalty: tuple[int, ...]
    """Tenths of the GPU's PCIe and NVLink bandwidth that are missing; 0 for a whole one."""

    def rails_of(self, rank: int) -> list[str]:
        """Return the NICs beside a GPU."""
        return [name for bit, name in enumerate(self.rail_names) if self.rails[rank] >> bit & 1]

    def rails_for(self, uuids: Sequence[str], count: int) -> tuple[str, ...]:
        """Return so many NICs beside these GPUs: in turn one of each GPU, none twice."""
        beside = {uuid: self.rails_of(self.uuids.index(uuid)) for uuid in uuids}
        given = match_rounds(beside, count)
        in_turn = [nics[i] for i in range(count) for nics in given.values() if i < len(nics)]
        return tuple(sorted(in_turn[:count]))


def build_model(inventory: Inventory, gpus: Iterable[Gpu]) -> PlacementModel:
    """Return the model of these GPUs, answering or not."""
    ranked = sorted(gpus, key=_rank)
    paths = _paths_mbps(ranked)
    values = [[_pair_gbps(inventory, paths, a, b) for b in ranked] for a in ranked]
    sockets = sockets_of(inventory.numa_nodes)
    numa, numa_nodes = _bits([gpu.numa_node for gpu in ranked])
    socket, socket_ids = _bits(
        [None if gpu.numa_node is None else sockets.get(gpu.numa_node) for gpu in ranked]
    )
    beside = [tuple(nic.name for nic in nics_beside(inventory, gpu)) for gpu in ranked]
    # A card can show more functions than the engine tells apart; the first ones count.
    rail_names = tuple(
        sorted({name for names in beside for name in names})[: PlacementEngine.most_devices]
    )
    bits = {name: 1 << bit for bit, name in enumerate(rail_names)}
    return PlacementModel(
        uuids=tuple(gpu.uuid for gpu in ranked),
        pair_gbps=tuple(tuple(row) for row in values),
        pair_words=tuple(tuple(_words(inventory, a, b) for b in ranked) for a in ranked),
        numa=numa,
        numa_nodes=numa_nodes,
        socket=socket,
        sockets=socket_ids,
        clique=_cliques(ranked),
        rails=tuple(sum(bits.get(name, 0) for name in names) for names in beside),
        rail_names=rail_names,
        penalty=tuple(_penalty(gpu, ranked, paths) for gpu in ranked),
    )


def _rank(gpu: Gpu) -> tuple[int, str]:
    # Index order is not physical order: on a GB200 tray indices 0..3 are modules 2, 1, 4, 3.
    return (gpu.module_id if gpu.module_id is not None else 0, gpu.address)


def _pair_gbps(inventory: Inventory, paths: Mapping[str, int], a: Gpu, b: Gpu) -> int:
    if a.uuid == b.uuid:
        return 0
    links = nvlinks_between(a, b)
    over_nvlink = links * min(_nvlink_gbps(a), _nvlink_gbps(b))
    return max(over_nvlink, _pcie_gbps(inventory, min(paths[a.uuid], paths[b.uuid]), a, b))


def _nvlink_gbps(gpu: Gpu) -> int:
    speeds = [NVLINK_GBPS.get(each.version or 0) for each in gpu.links if each.active]
    return min((s for s in speeds if s is not None), default=_SLOWEST_NVLINK_GBPS)


def _pcie_gbps(inventory: Inventory, narrowest: int, a: Gpu, b: Gpu) -> int:
    # Unknown is never best.
    distance = inventory.distance(a.uuid, b.uuid) or Distance.SYS
    redirected = any(p is not None and p.acs_redirect for p in (a.position, b.position))
    if redirected and distance in (Distance.PIX, Distance.PXB):
        # ACS sends peer traffic up to the root complex and down again.
        distance = Distance.PHB
    return max(1, round(PCIE_GBPS[distance] * narrowest / _REFERENCE_MBPS))


def _paths_mbps(gpus: Sequence[Gpu]) -> dict[str, int]:
    """Return what the way up from each GPU carries, by UUID.

    One that is not known counts as the narrowest of the node: unknown is never best.
    """
    found = {gpu.uuid: _path_mbps(gpu.position) for gpu in gpus}
    narrowest = min((mbps for mbps in found.values() if mbps), default=_REFERENCE_MBPS)
    return {uuid: mbps or narrowest for uuid, mbps in found.items()}


def _path_mbps(position: PciPosition | None) -> int | None:
    if position is None or position.path_generation is None or position.path_width is None:
        return None
    return _LANE_MBPS.get(position.path_generation, _LANE_MBPS[6]) * position.path_width


def _words(inventory: Inventory, a: Gpu, b: Gpu) -> str:
    if a.uuid == b.uuid:
        return "X"
    links = nvlinks_between(a, b)
    distance = inventory.distance(a.uuid, b.uuid)
    return f"NV{links}" if links else str(distance or "unknown")


def _bits(ids: Sequence[int | None]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a bit per device, and the ids by bit; 0 where the id is not known."""
    known = sorted({id_ for id_ in ids if id_ is not None})
    bits = tuple(0 if id_ is None else 1 << known.index(id_) for id_ in ids)
    return bits, tuple(known)


def _cliques(ranked: Sequence[Gpu]) -> tuple[int, ...]:
    """Number the groups of GPUs that NVLink joins all alike, and to nothing else.

    A cube mesh is none: its GPUs have neighbours of different speeds, and no set of them is
    more of a whole than another.
    """
    counts = [[0 if a is b else nvlinks_between(a, b) for b in ranked] for a in ranked]
    found = [-1] * len(ranked)
    for rank, row in enumerate(counts):
        group = [other for other, count in enumerate(row) if count or other == rank]
        alike = {counts[a][b] for a in group for b in group if a != b}
        closed = all(
            {other for other, count in enumerate(counts[a]) if count} <= set(group) for a in group
        )
        if len(alike) == 1 and 0 not in alike and closed:
            found[rank] = group[0]
    return tuple(found)


def _penalty(gpu: Gpu, ranked: Sequence[Gpu], paths: Mapping[str, int]) -> int:
    """Return how much less than the best of its kind a GPU has to offer."""
    alike = [other for other in ranked if other.name == gpu.name]
    links = [sum(link.active for link in other.links) for other in alike]
    best_path = max(paths[other.uuid] for other in alike)
    missing_links = _tenths_missing(sum(link.active for link in gpu.links), max(links))
    return missing_links + _tenths_missing(paths[gpu.uuid], best_path)


def _tenths_missing(value: int, best: int) -> int:
    return 0 if best == 0 else 10 - 10 * value // best
