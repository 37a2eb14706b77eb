"""To which NUMA nodes the kubelet holds a container that asks for GPUs alone, and which it gives.

Its rules in our words (Kubernetes v1.36, pkg/kubelet/cm: topologymanager/policy.go,
devicemanager/topology_hints.go, devicemanager/manager.go; docs/kubelet.md, Topology). Older
kubelets look at every set of the machine's NUMA nodes, newer ones at sets of those that have
devices. Here that is the same: a node without devices makes a set wider and holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import lru_cache
from itertools import combinations

from msgspec import Struct
from msgspec.structs import replace

from agent.planning.catalog import OfferedDevice
from agent.planning.placement import Placement, Request

MOST_NUMA_NODES = 8
"""With more, a kubelet whose policy is not none does not start, unless it is told a larger
max-allowable-numa-nodes (topologymanager/topology_manager.go: NewManager)."""


class TopologyPolicy(StrEnum):
    """Policies of the Topology Manager, by their names in the kubelet's configuration."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    RESTRICTED = "restricted"
    SINGLE_NUMA_NODE = "single-numa-node"


class Stock(Struct, frozen=True, kw_only=True):
    """The devices of one resource at the moment of a request."""

    devices: tuple[OfferedDevice, ...]
    free: frozenset[str]
    """Ids of those that no container holds, healthy or not."""
    nodes: frozenset[int]
    """Every NUMA node of the machine."""

    @property
    def available(self) -> tuple[OfferedDevice, ...]:
        """Return what can be given now."""
        return tuple(each for each in self.devices if each.healthy and each.id in self.free)

    @property
    def healthy(self) -> tuple[OfferedDevice, ...]:
        """Return what can be given when nothing is held."""
        return tuple(each for each in self.devices if each.healthy)

    def emptied(self) -> Stock:
        """Return the same devices with nothing held."""
        return replace(self, free=frozenset(each.id for each in self.devices))

    def repaired(self) -> Stock:
        """Return the same devices with none unhealthy."""
        return replace(self, devices=tuple(replace(each, reason=None) for each in self.devices))


class Hint(Struct, frozen=True, kw_only=True):
    """The narrowest set of NUMA nodes that has enough; of several, the smallest as a bit mask."""

    nodes: frozenset[int]
    least: int
    """How many nodes would do if every device were healthy and free."""

    @property
    def preferred(self) -> bool:
        """Return True when no narrower set could ever do."""
        return len(self.nodes) == self.least


class Decision(Struct, frozen=True, kw_only=True):
    """What a policy makes of a request."""

    admitted: bool
    looked: bool
    """Whether NUMA nodes count at all."""
    hint: Hint | None
    """None where they do not, or where no set of them has enough."""
    affinity: frozenset[int] | None
    """The nodes whose devices come first; None where all are alike."""

    @property
    def preferred(self) -> bool | None:
        """Return whether no narrower set could ever do; None where no nodes count."""
        return (self.hint is not None and self.hint.preferred) if self.looked else None


def decide(stock: Stock, policy: TopologyPolicy, size: int) -> Decision:
    """Return whether so many devices would be given, and the nodes they are held to."""
    enough = size <= len(stock.available)
    if policy is TopologyPolicy.NONE or not any(each.numa_nodes for each in stock.devices):
        return Decision(admitted=enough, looked=False, hint=None, affinity=None)
    hint = best_hint(stock, size)
    if policy is TopologyPolicy.SINGLE_NUMA_NODE:
        accepted = hint is not None and len(hint.nodes) == 1
    else:
        accepted = policy is TopologyPolicy.BEST_EFFORT or (hint is not None and hint.preferred)
    nodes = stock.nodes if hint is None else hint.nodes
    # For single-numa-node, the only node of a machine is no affinity at all.
    anywhere = policy is TopologyPolicy.SINGLE_NUMA_NODE and nodes == stock.nodes
    return Decision(
        admitted=enough and accepted,
        looked=True,
        hint=hint,
        affinity=None if anywhere else nodes,
    )


def best_hint(stock: Stock, size: int) -> Hint | None:
    """Return what hints about GPUs alone are merged into; None where none can be satisfied."""
    found = _hints(stock)
    return found[size - 1] if size <= len(found) else None


# Every policy and size asks about the same few stocks, and sets of nodes are many.
@lru_cache(maxsize=4)
def _hints(stock: Stock) -> tuple[Hint, ...]:
    """Return the best hint of each size from 1, as far as there are any.

    What could do counts every device, held and unhealthy ones too. A device of several nodes
    belongs to each of them; one of no known node never counts.
    """
    every = [_mask(each.numa_nodes) for each in stock.devices]
    available = [_mask(each.numa_nodes) for each in stock.available]
    hosting = sorted({node for each in stock.devices for node in each.numa_nodes})
    least: list[int] = []
    found: list[Hint] = []
    for width in range(1, len(hosting) + 1):
        for nodes in sorted(combinations(hosting, width), key=_mask):
            mask = _mask(nodes)
            least += [width] * (_count(every, mask) - len(least))
            newly = least[len(found) : _count(available, mask)]
            found += [Hint(nodes=frozenset(nodes), least=each) for each in newly]
    return tuple(found)


def give(
    stock: Stock, decision: Decision, size: int, choose: Callable[[Request], Placement]
) -> Placement:
    """Return the devices of an admitted request.

    Those of the affinity come first. Where they are more than needed the plugin is asked which
    of them; where they are fewer, which others beside them. Where they are just enough nobody
    is asked, and ``choose`` only says what they are worth. What stays free counts on the whole
    node, as in ``preference.prefer``.
    """
    available = tuple(each.id for each in stock.available)
    nodes = decision.affinity or frozenset()
    aligned = tuple(each.id for each in stock.available if nodes.intersection(each.numa_nodes))
    if size <= len(aligned):
        return choose(Request(available=aligned, size=size, free=available))
    return choose(Request(available=available, must_include=aligned, size=size))


def _count(masks: Iterable[int], nodes: int) -> int:
    return sum(1 for mask in masks if mask & nodes)


def _mask(nodes: Iterable[int]) -> int:
    return sum(1 << node for node in nodes)
