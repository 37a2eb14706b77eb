"""The matrix of `nvidia-smi topo -m`, column for column."""

from __future__ import annotations

from collections.abc import Sequence

from agent.cli.render import ranges
from agent.model.inventory import Gpu, Inventory, Nic, nvlinks_between

LEGEND = """
Legend:

  X    = Self
  SYS  = Across NUMA nodes, through the interconnect between sockets
  NODE = Through several PCIe host bridges of one NUMA node
  PHB  = Through one PCIe host bridge
  PXB  = Through several PCIe switches, no host bridge
  PIX  = Through at most one PCIe switch
  NV#  = Through # bonded NVLinks
"""


def cell(inventory: Inventory, a: Gpu | Nic, b: Gpu | Nic) -> str:
    """Return one cell of the matrix: ``X``, ``NV18``, ``PXB``, ..."""
    if a is b:
        return "X"
    if isinstance(a, Gpu) and isinstance(b, Gpu) and (count := nvlinks_between(a, b)):
        return f"NV{count}"
    distance = inventory.distance(_name(a), _name(b))
    return "SYS" if distance is None else distance.value


def matrix(inventory: Inventory) -> str:
    """Return the matrix as tab-separated text, with the legends nvidia-smi prints below it.

    Its NICs are those that can do RDMA, as in the tool.
    """
    nics = [nic for nic in inventory.nics if nic.rdma]
    devices: list[Gpu | Nic] = [*inventory.gpus, *nics]
    labels = [
        *(f"GPU{gpu.index}" for gpu in inventory.gpus),
        *(f"NIC{i}" for i in range(len(nics))),
    ]
    # The tool prints one tab before the last heading and two before its cells.
    lines = ["\t".join(["", *labels, "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"])]
    for label, device in zip(labels, devices, strict=True):
        cells = [f"{cell(inventory, device, other):^3}" for other in devices]
        lines.append("\t".join([label, *cells, *_affinity(device)]))
    return "\n".join(lines) + "\n" + LEGEND + _nic_legend(nics)


def _affinity(device: Gpu | Nic) -> tuple[str, ...]:
    if isinstance(device, Nic):
        return ("", "", "", "")
    nodes = device.memory_affinity or (() if device.numa_node is None else (device.numa_node,))
    own = "N/A" if device.memory_numa_node is None else str(device.memory_numa_node)
    return (ranges(device.cpu_affinity) or "N/A", ranges(nodes) or "N/A", "", own)


def _nic_legend(nics: Sequence[Nic]) -> str:
    if not nics:
        return ""
    names = "\n".join(f"  NIC{i}: {nic.name}" for i, nic in enumerate(nics))
    return f"\nNIC Legend:\n\n{names}\n"


def _name(device: Gpu | Nic) -> str:
    return device.uuid if isinstance(device, Gpu) else device.name


def document(inventory: Inventory) -> dict[str, object]:
    """Return the topology as one JSON document: devices, and every pair with its distance."""
    return {
        "gpus": [
            {
                "index": gpu.index,
                "uuid": gpu.uuid,
                "address": gpu.address,
                "numa_node": gpu.numa_node,
                "cpu_affinity": ranges(gpu.cpu_affinity),
                "memory_affinity": ranges(gpu.memory_affinity),
                "memory_numa_node": gpu.memory_numa_node,
            }
            for gpu in inventory.gpus
        ],
        "nics": [
            {"name": nic.name, "address": nic.address, "numa_node": nic.numa_node}
            for nic in inventory.nics
        ],
        "pairs": [
            {
                "a": pair.a,
                "b": pair.b,
                "distance": pair.distance.value,
                "overridden": pair.overridden,
                "nvlinks": _nvlinks(inventory, pair.a, pair.b),
            }
            for pair in inventory.pairs
        ],
        "numa_nodes": list(inventory.numa_nodes),
        "warnings": list(inventory.warnings),
    }


def _nvlinks(inventory: Inventory, a: str, b: str) -> int:
    one, other = inventory.gpu(a), inventory.gpu(b)
    return nvlinks_between(one, other) if one and other else 0
