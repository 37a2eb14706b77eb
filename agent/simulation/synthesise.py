"""Makes a machine that gives a Capture's classes back, with notes on what was guessed."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from agent.model.inventory import Distance
from agent.simulation import (
    expand,
    lists,
    parts,
    synthesise_links,
    synthesise_nodes,
    tree,
)
from agent.simulation.capture import Capture, CapturedGpu
from agent.simulation.clusters import Relations
from agent.simulation.parts import GpuModel
from agent.simulation.profile import Entry, Fabric, Override, Profile, Root
from agent.simulation.synthesise_links import Wiring
from agent.simulation.synthesise_nodes import Nodes
from agent.simulation.synthesise_tree import Planner

_SHOWN_PAIRS = 6
_SWITCH_BY_GENERATION = {3: "plx-8764", 4: "microchip-switchtec", 5: "broadcom-gen5"}
_PORT_BY_GENERATION = {
    3: "intel-skylake-port",
    4: "amd-rome-port",
    5: "intel-sapphire-rapids-port",
}
_CARD_BY_ARCHITECTURE = {
    "kepler": "cx3-fdr",
    "pascal": "cx4-edr",
    "volta": "cx4-edr",
    "turing": "cx5-100g",
    "ampere": "cx6-hdr",
}
_NEWEST_CARD = "cx7-ndr"


class Synthesis(Struct, frozen=True, kw_only=True):
    """A machine made from a capture."""

    profile: Profile
    notes: tuple[str, ...]
    """One sentence each: what was guessed, what was kept against the tree."""


def synthesise(capture: Capture, *, name: str, source: str, model: str | None = None) -> Synthesis:
    """Return the profile of a machine with the captured classes, NVLinks and affinities.

    ``source`` is the capture's text: equal text gives equal UUIDs. ``model`` names the GPUs in
    parts/gpus.yaml; None has them guessed. Raises ConfigError for NVLink counts no wiring gives,
    and for more devices than PCI has room for.
    """
    wiring = synthesise_links.wire(capture, model)
    gpu = parts.shipped().gpu(wiring.model)
    relations = _distances(capture)
    nodes = synthesise_nodes.find(capture, relations, memory_gib=gpu.memory_mib >> 10)
    names = _device_names(capture)
    bare = _profile(capture, wiring, nodes, relations, names=names)
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    bare = replace(
        bare,
        name=name,
        identity=f"capture/{digest}",
        summary=f"{len(capture.gpus)} {gpu.name}, as nvidia-smi topo -m showed them",
    )
    kept = _contradictions(bare, names, relations)
    overrides = tuple(
        Override(devices=(names[each.a], names[each.b]), distance=each.captured) for each in kept
    )
    return Synthesis(
        profile=replace(bare, distances=overrides),
        notes=(*_guesses(capture, wiring, gpu, nodes, guessed=model is None), *_notes(kept)),
    )


def _distances(capture: Capture) -> Relations:
    return {
        pair: relation.distance
        for pair, relation in capture.relations.items()
        if relation.distance is not None
    }


def _device_names(capture: Capture) -> dict[str, str]:
    """Return what each column's device is called: as the legend says, or mlx5_<n> for NIC<n>."""
    names = {gpu.name: gpu.name for gpu in capture.gpus}
    for column in capture.nics:
        plain = f"mlx5_{column.removeprefix('NIC')}" if column.startswith("NIC") else column
        wanted = capture.legend.get(column, plain)
        names[column] = column if wanted in names.values() else wanted
    return names


def _profile(
    capture: Capture,
    wiring: Wiring,
    nodes: Nodes,
    relations: Relations,
    *,
    names: Mapping[str, str],
) -> Profile:
    gpu = parts.shipped().gpu(wiring.model)
    boards = _boards(capture)
    gpus = {each.name: each for each in capture.gpus}

    def entry(column: str) -> Entry:
        if column in gpus:
            return _gpu_entry(gpus[column], capture, nodes, boards)
        return Entry(nic=names[column])

    planner = Planner(
        relations=relations,
        node_of=nodes.of,
        entry=entry,
        is_nic=lambda column: column not in gpus,
        switch=_SWITCH_BY_GENERATION[min(gpu.pcie_generation, 5)],
    )
    roots = tuple(planner.roots(capture.devices))
    coherent = bool(nodes.memory_nodes)
    port = "nvidia-grace-port" if coherent else _PORT_BY_GENERATION[min(gpu.pcie_generation, 5)]
    return Profile(
        version="v1",
        name="capture",
        summary="",
        sockets=nodes.sockets,
        memory_nodes=nodes.memory_nodes,
        threads=2 if nodes.threads == 2 else 1,
        gpu=wiring.model,
        pci=(*roots, *_nvswitches(wiring.switches, roots)),
        root_port=port,
        nic=_card(capture, gpu),
        architecture="aarch64" if coherent else "x86_64",
        nvlink=wiring.nvlink,
        fabric=Fabric() if gpu.fabric and wiring.nvlink.switched != "none" else None,
    )


def _card(capture: Capture, gpu: GpuModel) -> str:
    if any(nic.startswith("mlx4") for nic in capture.nics):
        return "cx3-fdr"
    return _CARD_BY_ARCHITECTURE.get(gpu.architecture, _NEWEST_CARD)


def _gpu_entry(
    gpu: CapturedGpu, capture: Capture, nodes: Nodes, boards: Mapping[str, int]
) -> Entry:
    node = nodes.of[gpu.name]
    cpus = {each.node: each.cpus for socket in nodes.sockets for each in socket}
    affinity = lists.render(gpu.cpu_affinity or ())
    memory = lists.render(gpu.numa_affinity or ()) if capture.has_numa else str(node)
    return Entry(
        gpu=int(gpu.name.removeprefix("GPU")),
        cpus=None if affinity == cpus.get(node) else affinity,
        memory=None if memory == str(node) else memory,
        memory_node=gpu.memory_node,
        board=boards.get(gpu.name),
    )


def _boards(capture: Capture) -> dict[str, int]:
    """Return a board number for GPUs that the capture says are dies of one board."""
    boards: dict[str, int] = {}
    for a, b in itertools.combinations((gpu.name for gpu in capture.gpus), 2):
        if capture.relations[frozenset((a, b))].on_board:
            number = boards.get(a, boards.get(b, len(boards) + 1))
            boards[a] = boards[b] = number
    return boards


def _nvswitches(count: int, roots: Sequence[Root]) -> Iterator[Root]:
    """Yield a root complex with the NVSwitches, in a PCI domain of its own."""
    if count:
        domain = 1 + max((int(root.root.split(":")[0], 16) for root in roots), default=0)
        ports = tuple(Entry(nvswitch=n, at=f"{n + 1:02x}:00.0") for n in range(count))
        yield Root(root=f"{domain:04x}:00", node=-1, ports=ports)


class _Contradiction(Struct, frozen=True, kw_only=True):
    """A pair, by column names, whose captured class is not what the tree amounts to."""

    a: str
    b: str
    captured: Distance
    by_tree: Distance


def _contradictions(
    profile: Profile, names: Mapping[str, str], relations: Relations
) -> list[_Contradiction]:
    spec = expand.expand(profile)
    placed = tree.by_name(spec)
    pairs = (
        (a, b, told)
        for a, b in itertools.combinations(names, 2)
        if (told := relations.get(frozenset((a, b)))) is not None
    )
    return [
        _Contradiction(a=a, b=b, captured=told, by_tree=found)
        for a, b, told in pairs
        if (found := tree.distance(spec, placed[names[a]], placed[names[b]])) is not told
    ]


def _guesses(
    capture: Capture, wiring: Wiring, gpu: GpuModel, nodes: Nodes, *, guessed: bool
) -> Iterator[str]:
    if guessed:
        yield f"GPUs taken for {gpu.name}, from their NVLinks and NUMA nodes: --gpu names others"
    if wiring.nvlink.switched == "all":
        yield "NVLinks lead to switches: a GPU has fewer links than its peers together would need"
    for index, count in wiring.nvlink.down.items():
        yield f"GPU{index}: {count} of its NVLinks are down, it shows fewer than its peers"
    if nodes.guessed:
        yield "NUMA nodes are not told for every GPU: taken from CPU affinities and distances"
    unplaced = [column for column in capture.nics if nodes.of[column] < 0]
    if unplaced:
        yield f"no NUMA node fits {', '.join(unplaced)}: their numa_node is -1"
    unknown = sum(
        frozenset(pair) not in capture.relations
        for pair in itertools.combinations(capture.devices, 2)
    )
    if unknown:
        yield f"{unknown} pairs stand in no row: their distance is what the tree amounts to"


def _notes(kept: Sequence[_Contradiction]) -> Iterator[str]:
    """Yield one note for each kind of contradiction."""
    groups: dict[tuple[bool, Distance, Distance], list[str]] = defaultdict(list)
    for each in kept:
        both_gpus = each.a.startswith("GPU") and each.b.startswith("GPU")
        groups[both_gpus, each.captured, each.by_tree].append(f"{each.a}-{each.b}")
    for (both_gpus, captured, by_tree), pairs in groups.items():
        shown = ", ".join(pairs[:_SHOWN_PAIRS]) + (" ..." if len(pairs) > _SHOWN_PAIRS else "")
        kind = "GPU pairs" if both_gpus else "pairs with a NIC"
        where = "what the driver answers" if both_gpus else "etc/plumbline/locality.yaml"
        yield (
            f"{len(pairs)} {kind} are {captured} where sysfs would say {by_tree}, "
            f"kept in {where}: {shown}"
        )
