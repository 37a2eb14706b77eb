"""Which requests for whole GPUs the kubelet would admit, under each policy of its Topology Manager.

For a pod of one container that asks for GPUs alone. CPUs and memory have hints of their own,
which can only narrow this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache

from msgspec import Struct

from agent.planning import fit_words
from agent.planning.affinity import MOST_NUMA_NODES, Stock, TopologyPolicy, decide, give
from agent.planning.placement import Placement, PlacementTable, Request


class Verdict(StrEnum):
    """What becomes of a pod."""

    ADMITTED = "admitted"
    PENDING = "pending"
    """Too few are free: the scheduler keeps it until there are more."""
    REJECTED = "rejected"
    """Enough are free, but not in the right places: scheduled, and rejected by the kubelet."""
    NEVER = "never"
    """Rejected whatever is free: a controller makes such pods again and again."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What becomes of a request of one size."""

    size: int
    verdict: Verdict
    reason: str
    preferred: bool | None
    """Whether no narrower set of NUMA nodes could ever do; None where the kubelet looks at none,
    or the pod is not admitted."""
    placement: Placement | None
    """What it would be given; None unless it is admitted."""


class Reach(Struct, frozen=True, kw_only=True):
    """The largest sizes that are admitted; 0 where none is."""

    admitted: int
    one_numa_node: int
    """... with GPUs of one NUMA node."""
    one_socket: int
    best_pairs: int
    """... with every pair of them as fast as the fastest of the node."""


class PolicyFit(Struct, frozen=True, kw_only=True):
    """What one policy makes of a node."""

    now: Reach
    empty: Reach
    """When nothing is held."""
    outcomes: tuple[Outcome, ...]
    """For each size from 1 to the number of GPUs."""

    def sizes(self, verdict: Verdict) -> tuple[int, ...]:
        """Return the sizes of a verdict."""
        return tuple(each.size for each in self.outcomes if each.verdict is verdict)


class Fit(Struct, frozen=True, kw_only=True):
    """What fits a node."""

    best_pair_gbps: int
    """The fastest pair of all GPUs; 0 for fewer than two."""
    policies: Mapping[TopologyPolicy, PolicyFit]
    notes: tuple[str, ...]
    """What else keeps pods from being aligned on this node."""


def fit(stock: Stock, table: PlacementTable) -> Fit:
    """Return what fits; the table answers for the plugin wherever the kubelet would ask it."""
    best = max((gbps for row in table.model.pair_gbps for gbps in row), default=0)
    # Policies and states ask much the same.
    choose = cache(table.choose)
    return Fit(
        best_pair_gbps=best,
        policies={policy: _fit(stock, policy, choose, best) for policy in TopologyPolicy},
        notes=tuple(_notes(stock)),
    )


def _fit(
    stock: Stock, policy: TopologyPolicy, choose: Callable[[Request], Placement], best: int
) -> PolicyFit:
    sizes = range(1, len(stock.devices) + 1)
    outcomes = tuple(outcome(stock, policy, size, choose) for size in sizes)
    empty = [outcome(stock.emptied(), policy, size, choose) for size in sizes]
    return PolicyFit(now=_reach(outcomes, best), empty=_reach(empty, best), outcomes=outcomes)


def outcome(
    stock: Stock, policy: TopologyPolicy, size: int, choose: Callable[[Request], Placement]
) -> Outcome:
    """Return what becomes of one request."""
    decision = decide(stock, policy, size)
    if decision.admitted:
        return Outcome(
            size=size,
            verdict=Verdict.ADMITTED,
            reason=fit_words.admitted(stock, policy, decision),
            preferred=decision.preferred,
            placement=give(stock, decision, size, choose),
        )
    verdict, reason = _refusal(stock, policy, size)
    return Outcome(size=size, verdict=verdict, reason=reason, preferred=None, placement=None)


def _refusal(stock: Stock, policy: TopologyPolicy, size: int) -> tuple[Verdict, str]:
    if not decide(stock.emptied().repaired(), policy, size).admitted:
        return Verdict.NEVER, fit_words.never(stock, policy)
    if size > len(stock.available):
        return Verdict.PENDING, fit_words.pending(stock, size)
    helped = decide(stock.emptied(), policy, size).admitted
    return Verdict.REJECTED, fit_words.rejected(stock, policy, size, ending_pods_help=helped)


def _reach(outcomes: Iterable[Outcome], best: int) -> Reach:
    given = [(each.size, each.placement.explanation) for each in outcomes if each.placement]
    return Reach(
        admitted=max((size for size, _ in given), default=0),
        # The places of the key say how many are spanned, unknown ones counted too.
        one_numa_node=max((size for size, why in given if why.key["numa_nodes"] == -1), default=0),
        one_socket=max((size for size, why in given if why.key["sockets"] == -1), default=0),
        best_pairs=max(
            (size for size, why in given if why.min_pair_gbps in (None, best)), default=0
        ),
    )


def _notes(stock: Stock) -> Iterable[str]:
    nowhere = sum(not each.numa_nodes for each in stock.devices)
    if nowhere and nowhere == len(stock.devices):
        yield "the NUMA node is known of no GPU: no policy holds a pod to one"
    elif nowhere:
        yield (
            f"the NUMA node is not known of {nowhere} of {len(stock.devices)} GPUs: "
            "restricted and single-numa-node never count them"
        )
    if len(stock.nodes) > MOST_NUMA_NODES:
        yield (
            f"the machine has {len(stock.nodes)} NUMA nodes: with a policy other than none the "
            f"kubelet starts only with max-allowable-numa-nodes={len(stock.nodes)} or more"
        )
