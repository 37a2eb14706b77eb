"""Chooses which shares of GPUs a request gets: replicas, or MIG instances of one profile.

Shares of one GPU are alike, so the search is over counts per GPU, and exact. What is taken
already is counted from the node's own state: the kubelet offers only a part of what there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from agent._native import ShareChoice, SharePolicy
from agent.model.mig_instance import MigInstance
from agent.planning.explanation import Explanation, first_difference, names_of, places
from agent.planning.placement import Placement, PlacementTable, Request
from agent.planning.slots import take_together


class ShareRequest(Struct, frozen=True, kw_only=True):
    """``size`` shares out of ``available``, among them all of ``must_include``."""

    available: tuple[str, ...]
    must_include: tuple[str, ...] = ()
    size: int
    parents: Mapping[str, str]
    """UUID of the GPU behind every share of the resource, taken ones too, by the share's id; of
    MigInstances all of the node, whatever their profile."""
    held: Collection[str] = ()
    """Shares that containers hold, as far as the node knows."""
    free_gpus: tuple[str, ...] = ()
    """GPUs of which nothing is held, for what is said of what stays free."""
    policy: SharePolicy = SharePolicy.DISTRIBUTED
    apart: bool = False
    """Take no more of one GPU than the others make necessary."""
    instances: Mapping[str, MigInstance] = field(default_factory=dict)
    """The shares that are MigInstances, by UUID, taken ones too."""


def choose_shares(table: PlacementTable, request: ShareRequest) -> Placement:
    """Return the best shares. Never raises: an impossible request gets the nearest answer."""
    counts = _Counts.of(table, request)
    choice = counts.choose(table, request.policy)
    taken = _pick(table, choice.counts, request)
    if len(taken) < request.size:
        others = {*request.available, *request.must_include}.difference(taken)
        taken += sorted(others, key=_natural)[: request.size - len(taken)]
    return Placement(
        tuple(taken),
        lambda: _explain(table, request, counts, choice),
        gpus=tuple(dict.fromkeys(request.parents.get(id_, id_) for id_ in taken)),
    )


class _Counts(Struct, frozen=True):
    """Shares per GPU, by rank."""

    free: tuple[int, ...]
    held: tuple[int, ...]
    total: tuple[int, ...]
    must: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, table: PlacementTable, request: ShareRequest) -> _Counts:
        parents = request.parents
        must = sorted(set(request.must_include), key=_natural)[: max(0, request.size)]
        offered = {*request.available, *must}

        def count(ids: Iterable[str]) -> tuple[int, ...]:
            found = [0] * max(1, len(table.model.uuids))
            for parent, number in Counter(map(parents.get, ids)).items():
                rank = None if parent is None else table.rank(parent)
                if rank is not None:
                    found[rank] += number
            return tuple(found)

        free, musts = count(offered), count(must)
        size = max(0, request.size - sum(table.rank(parents.get(m, "")) is None for m in must))
        return cls(
            free=_apart(free, musts, size) if request.apart else free,
            # What is offered is free, whatever is still written down about it.
            held=count(set(request.held) - offered),
            total=count({*parents, *offered}),
            must=musts,
            size=size,
        )

    def choose(self, table: PlacementTable, policy: SharePolicy) -> ShareChoice:
        return table.engine.choose_shares(
            free=self.free,
            held=self.held,
            total=self.total,
            must=self.must,
            size=self.size,
            policy=policy,
        )

    def without(self, rank: int) -> _Counts:
        """Return the same request with nothing on offer of one GPU."""
        return replace(self, free=tuple(0 if i == rank else n for i, n in enumerate(self.free)))


def _apart(free: Sequence[int], must: Sequence[int], size: int) -> tuple[int, ...]:
    """Return so much of each GPU as it takes for a size, the same of all that have it."""
    for most in range(1, max(free, default=0)):
        capped = tuple(min(n, max(most, least)) for n, least in zip(free, must, strict=True))
        if sum(capped) >= size:
            return capped
    return tuple(free)


def _pick(table: PlacementTable, counts: Sequence[int], request: ShareRequest) -> list[str]:
    """Return ids for counts: those that must be, then the best of each GPU."""
    must = sorted(set(request.must_include), key=_natural)
    wanted = dict(zip(table.model.uuids, counts, strict=False))
    picked: list[str] = []
    for id_ in must:
        parent = request.parents.get(id_, "")
        if wanted.get(parent, 0) > 0:
            wanted[parent] -= 1
            picked.append(id_)
        elif parent not in wanted and len(picked) < request.size:
            picked.append(id_)
    for parent, count in wanted.items():
        if count > 0:
            offered = {id_ for id_ in request.available if request.parents.get(id_) == parent}
            picked += _of_gpu(offered.difference(must), picked, count, request)
    return picked


def _of_gpu(
    offered: Iterable[str], picked: Sequence[str], count: int, request: ShareRequest
) -> list[str]:
    """Return shares of one GPU: Replicas by number, MigInstances so that large slots stay."""
    ids = sorted(offered, key=_natural)
    candidates = [request.instances[id_] for id_ in ids if id_ in request.instances]
    if len(candidates) < len(ids) or not candidates:
        return ids[:count]
    gpu = candidates[0].parent.uuid
    taken = {*request.held, *picked}.difference(ids)
    beside = (each for uuid, each in request.instances.items() if uuid in taken)
    return take_together(candidates, (o for o in beside if o.parent.uuid == gpu), count)


def _explain(
    table: PlacementTable, request: ShareRequest, counts: _Counts, choice: ShareChoice
) -> Explanation:
    chosen = tuple(uuid for uuid, n in zip(table.model.uuids, choice.counts, strict=False) if n)
    # What the GPUs are to each other is said of them as of whole ones.
    whole = table.choose(Request(available=chosen, size=len(chosen), free=request.free_gpus))
    names = names_of(choice.terms)
    second = _runner_up(table, request.policy, counts, choice)
    return replace(
        whole.explanation,
        key=places(names, choice.key),
        runner_up=None if second is None else table.uuids(second.parents),
        lost_at=second and first_difference(names, choice.key, second.key),
        exact=choice.exact,
    )


def _runner_up(
    table: PlacementTable, policy: SharePolicy, counts: _Counts, choice: ShareChoice
) -> ShareChoice | None:
    """Return the best answer that does without one of the chosen GPUs."""
    given = sum(choice.counts)
    others = [
        counts.without(rank).choose(table, policy)
        for rank, n in enumerate(choice.counts)
        if n and not counts.must[rank]
    ]
    return max((c for c in others if sum(c.counts) == given), key=lambda c: c.key, default=None)


def _natural(id_: str) -> tuple[str, int, str]:
    """Order replicas by number: ``::2`` before ``::10``."""
    parent, _, number = id_.partition("::")
    return parent, int(number) if number.isdecimal() else 0, number
