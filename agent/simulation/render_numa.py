"""Renders NUMA nodes and CPUs below /sys/devices/system."""

from __future__ import annotations

from collections.abc import Iterator

from agent.simulation import lists
from agent.simulation.entries import Entry, File, Link, text
from agent.simulation.spec import CpuSpec, MachineSpec, NumaSpec

_NODES = "sys/devices/system/node"
_CPUS = "sys/devices/system/cpu"
_KERNEL_MAX = 8191  # CONFIG_NR_CPUS - 1 of distribution kernels


def render(spec: MachineSpec) -> Iterator[Entry]:
    """Yield the nodes and the CPUs."""
    yield from _nodes(spec)
    yield from _cpus(spec)


def _nodes(spec: MachineSpec) -> Iterator[Entry]:
    every = lists.render(node.id for node in spec.numa_nodes)
    with_memory = lists.render(node.id for node in spec.numa_nodes if node.memory_bytes)
    yield text(f"{_NODES}/online", every)
    yield text(f"{_NODES}/possible", every)
    yield text(f"{_NODES}/has_cpu", lists.render(n.id for n in spec.numa_nodes if n.cpus))
    yield text(f"{_NODES}/has_memory", with_memory)
    yield text(f"{_NODES}/has_normal_memory", with_memory)
    width = _width(spec)
    for node in spec.numa_nodes:
        yield from _node(node, width)


def _node(node: NumaSpec, width: int) -> Iterator[Entry]:
    here = f"{_NODES}/node{node.id}"
    kib = node.memory_bytes >> 10
    yield text(f"{here}/cpulist", lists.render(node.cpus))
    yield text(f"{here}/cpumap", lists.mask(node.cpus, width))
    yield text(f"{here}/distance", " ".join(map(str, node.distances.values())))
    lines = (f"Node {node.id} {key}:{kib:>15} kB\n" for key in ("MemTotal", "MemFree"))
    yield File(f"{here}/meminfo", "".join(lines).encode())
    for cpu in node.cpus:
        yield Link(f"{here}/cpu{cpu}", f"{_CPUS}/cpu{cpu}")


def _cpus(spec: MachineSpec) -> Iterator[Entry]:
    every = lists.render(cpu.id for cpu in spec.cpus)
    for name in ("online", "possible", "present"):
        yield text(f"{_CPUS}/{name}", every)
    yield text(f"{_CPUS}/offline", "")
    yield text(f"{_CPUS}/kernel_max", _KERNEL_MAX)
    for cpu in spec.cpus:
        yield from _cpu(cpu)


def _cpu(cpu: CpuSpec) -> Iterator[Entry]:
    here = f"{_CPUS}/cpu{cpu.id}"
    if cpu.id != 0:  # the boot CPU cannot be taken offline
        yield text(f"{here}/online", 1)
    yield Link(f"{here}/node{cpu.node}", f"{_NODES}/node{cpu.node}")
    yield text(f"{here}/topology/physical_package_id", cpu.socket)
    yield text(f"{here}/topology/core_id", cpu.core)
    yield text(f"{here}/topology/thread_siblings_list", lists.render(cpu.siblings))


def _width(spec: MachineSpec) -> int:
    return max((cpu.id for cpu in spec.cpus), default=0) + 1
