"""Why the kubelet admits a request for GPUs or does not, in words."""

from __future__ import annotations

from collections.abc import Iterable

from agent.planning.affinity import Decision, Stock, TopologyPolicy, best_hint
from agent.planning.catalog import OfferedDevice


def admitted(stock: Stock, policy: TopologyPolicy, decision: Decision) -> str:
    """Say where the GPUs come from."""
    if policy is TopologyPolicy.NONE:
        return "the policy looks at no NUMA nodes"
    if not decision.looked:
        return "the NUMA node is known of no GPU"
    if decision.hint is None:
        return f"held to no NUMA node: {_placed(stock.available, 'free GPUs')}"
    held = f"held to {_nodes(decision.hint.nodes)}"
    return held if decision.preferred else f"{held} where {decision.hint.least} could do"


def pending(stock: Stock, size: int) -> str:
    """Say what there is too little of."""
    if size > len(stock.healthy):
        return f"{len(stock.healthy)} of {len(stock.devices)} GPUs healthy"
    return f"{len(stock.available)} of {len(stock.devices)} GPUs free"


def rejected(stock: Stock, policy: TopologyPolicy, size: int, *, ending_pods_help: bool) -> str:
    """Say why what is free does not do."""
    until = "" if ending_pods_help else f"; waiting does not help, {_unhealthy(stock)}"
    if policy is TopologyPolicy.SINGLE_NUMA_NODE:
        return f"no NUMA node has {size} free{until}"
    hint = best_hint(stock, size)
    if hint is None:
        return f"{_placed(stock.available, 'free GPUs')}{until}"
    return f"takes {len(hint.nodes)} NUMA nodes where {hint.least} could do{until}"


def never(stock: Stock, policy: TopologyPolicy) -> str:
    """Say why nothing that ends makes room."""
    if policy is TopologyPolicy.SINGLE_NUMA_NODE:
        nodes = {node for each in stock.devices for node in each.numa_nodes}
        most = max(sum(node in each.numa_nodes for each in stock.devices) for node in nodes)
        return f"no NUMA node has more than {_gpus(most)}"
    return _placed(stock.devices)


def _placed(devices: Iterable[OfferedDevice], what: str = "GPUs") -> str:
    known = [bool(each.numa_nodes) for each in devices]
    return f"the NUMA node is known of {sum(known)} of {len(known)} {what}"


def _unhealthy(stock: Stock) -> str:
    count = len(stock.devices) - len(stock.healthy)
    return f"{count} is unhealthy" if count == 1 else f"{count} are unhealthy"


def _nodes(nodes: Iterable[int]) -> str:
    *most, last = map(str, sorted(nodes))
    return f"NUMA nodes {', '.join(most)} and {last}" if most else f"NUMA node {last}"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"
