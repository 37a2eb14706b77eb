"""What the demo shows: topology, pods with their GPUs and NICs, and what stays free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from rich import box
from rich.table import Table

from agent.cli import topology
from agent.model.inventory import Gpu, Inventory
from agent.planning.rails import nics_beside
from deviceplugin.values import Device

__all__ = ["Device", "free_lines", "pod_table", "topology_lines"]


def topology_lines(inventory: Inventory) -> str:
    """Return the matrix without its legend, in columns."""
    matrix = topology.matrix(inventory).split("\n\n")[0]
    rows = [line.split("\t") for line in matrix.splitlines()]
    rows = [[cell.strip() for cell in row] for row in rows[: 1 + len(inventory.gpus)]]
    # Up to NUMA Affinity: the last heading is not above its cells.
    width = len(rows[0]) - 1
    widths = [max(len(row[i]) for row in rows) for i in range(width)]
    lines = ("  ".join(row[i].ljust(widths[i]) for i in range(width)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def pod_table(inventory: Inventory, held: Mapping[str, Sequence[str]]) -> Table:
    """Return one row per pod: its GPUs, where they are, how they are joined, their NICs."""
    table = Table("pod", "asks", "GPUs", "NUMA node", "between them", "NICs beside", box=box.SIMPLE)
    for pod, uuids in held.items():
        gpus = _gpus(inventory, uuids)
        nics = dict.fromkeys(nic.name for gpu in gpus for nic in nics_beside(inventory, gpu))
        table.add_row(
            pod,
            str(len(gpus)),
            " ".join(str(gpu.index) for gpu in gpus),
            ", ".join(_nodes(gpus)),
            _joint(inventory, gpus),
            " ".join(nics) or "none near enough",
        )
    return table


def free_lines(inventory: Inventory, held: Mapping[str, Sequence[str]]) -> str:
    """Return what is free on each NUMA node."""
    taken = {uuid for uuids in held.values() for uuid in uuids}
    lines = []
    for node in sorted({gpu.numa_node for gpu in inventory.gpus}, key=lambda n: (n is None, n)):
        here = [gpu for gpu in inventory.gpus if gpu.numa_node == node]
        free = [f"GPU{gpu.index}" for gpu in here if gpu.uuid not in taken]
        name = "unknown NUMA node" if node is None else f"NUMA node {node}"
        lines.append(f"{name}: {len(free)} of {len(here)} GPUs: {' '.join(free) or '-'}")
    return "\n".join(lines)


def _gpus(inventory: Inventory, uuids: Sequence[str]) -> list[Gpu]:
    return [gpu for gpu in inventory.gpus if gpu.uuid in uuids]


def _nodes(gpus: Sequence[Gpu]) -> list[str]:
    nodes = sorted({-1 if gpu.numa_node is None else gpu.numa_node for gpu in gpus})
    return ["unknown" if node < 0 else str(node) for node in nodes]


def _joint(inventory: Inventory, gpus: Sequence[Gpu]) -> str:
    cells = dict.fromkeys(topology.cell(inventory, a, b) for a, b in combinations(gpus, 2))
    return " ".join(cells) or "-"
