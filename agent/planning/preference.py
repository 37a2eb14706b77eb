"""What the kubelet is told to prefer: request, snapshot and Ledger in, Placement out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from agent import _native
from agent._native import SharePolicy
from agent.config.own import PlacementPolicy
from agent.config.schema import Config, SharedPolicy
from agent.ledger.ledger import Ledger
from agent.planning.catalog import Catalog
from agent.planning.placement import Placement, Request
from agent.planning.shares import ShareRequest, choose_shares
from agent.planning.snapshot import Snapshot

_ENGINE_POLICIES = {each: _native.PlacementPolicy[each.name] for each in PlacementPolicy}


def prefer(
    snapshot: Snapshot,
    ledger: Ledger,
    resource: str,
    *,
    available: Sequence[str],
    must_include: Sequence[str],
    size: int,
    nics_taken: Collection[str] = (),
) -> Placement:
    """Return the devices of a resource that are best for one container. Never raises.

    ``nics_taken`` are NICs that other containers were given.
    """
    free = free_gpus(snapshot.catalog, ledger)
    offered = _of_one_kind(snapshot, available, must_include, size)
    if snapshot.catalog.is_divided(resource) and _has_shares(snapshot, offered):
        parents = shares_of(snapshot, resource)
        request = ShareRequest(
            available=offered,
            must_include=tuple(must_include),
            size=size,
            parents=parents,
            held=ledger.held & parents.keys(),
            free_gpus=free,
            policy=share_policy(snapshot, resource),
            apart=_apart(snapshot, resource),
            instances=snapshot.instances,
        )
        return choose_shares(snapshot.placement, request)
    return snapshot.placement.choose(
        Request(
            available=offered,
            must_include=tuple(must_include),
            size=size,
            free=free,
            policy=policy(snapshot.config, resource),
            rails=rails_wanted(snapshot.config, size),
            rails_taken=rails_taken(snapshot, available, nics_taken),
        )
    )


def _of_one_kind(
    snapshot: Snapshot, available: Sequence[str], must_include: Sequence[str], size: int
) -> tuple[str, ...]:
    """Return what a container is to get its devices from, where shares and GPUs have one name.

    Who asks for one device gets a share: a GPU that stays whole can still be part of a larger
    set. Who asks for several gets whole ones, as long as there are so many.
    """
    gpus = {gpu.uuid for gpu in snapshot.inventory.gpus}
    whole = tuple(id_ for id_ in available if id_ in gpus)
    if not whole or len(whole) == len(available):
        return tuple(available)
    if size == 1 and not must_include:
        return tuple(id_ for id_ in available if id_ not in gpus)
    return whole if len(whole) >= size and gpus.issuperset(must_include) else tuple(available)


def _has_shares(snapshot: Snapshot, offered: Collection[str]) -> bool:
    return not {gpu.uuid for gpu in snapshot.inventory.gpus}.issuperset(offered)


def _apart(snapshot: Snapshot, resource: str) -> bool:
    """Return True where Replicas of one container are to be those of different GPUs."""
    if is_mig(snapshot, resource):
        return False
    shares = snapshot.catalog.shared.by_device.values()
    distinct = any(each.distinct for each in shares if each.resource == resource)
    policy = snapshot.config.plumbline.placement.policy_of(resource)
    return distinct or policy is PlacementPolicy.SPREAD


def rails_wanted(config: Config, size: int) -> int:
    """Return how many NICs GPUs of this number should have beside them; 0 where none are given."""
    nics = config.plumbline.nics
    return nics.per_gpu * size if nics.enabled else 0


def rails_taken(
    snapshot: Snapshot, available: Iterable[str], taken: Collection[str]
) -> tuple[str, ...]:
    """Return the NICs that do not count for a choice among these GPUs.

    Where NICs may be shared and none beside the GPUs is left, those that others have count as
    well: a shared one is more than none.
    """
    wanted = snapshot.config.plumbline.nics
    if not (wanted.enabled and taken):
        return ()
    beside = {name for uuid in available for name in snapshot.placement.rails_of(uuid)}
    return () if wanted.shared and beside <= set(taken) else tuple(sorted(taken))


def free_gpus(catalog: Catalog, ledger: Ledger) -> tuple[str, ...]:
    """Return the whole GPUs that the node can still give, under whatever name.

    The kubelet offers what suits the NUMA nodes it has in mind; what a choice leaves behind
    is counted on the whole node.
    """
    return tuple(uuid for uuid in catalog.whole if uuid not in ledger.held)


def engine_policy(policy: PlacementPolicy) -> _native.PlacementPolicy:
    """Return what the engine calls a policy of the configuration."""
    return _ENGINE_POLICIES[policy]


def policy(config: Config, resource: str) -> _native.PlacementPolicy:
    """Return the engine's policy for a resource."""
    return engine_policy(config.plumbline.placement.policy_of(resource))


def shares_of(snapshot: Snapshot, resource: str) -> Mapping[str, str]:
    """Return the GPU behind every share that counts where shares of a resource are chosen.

    MigInstances of other profiles count as well: what they leave of a GPU is one thing.
    """
    parents = snapshot.catalog.parents(resource)
    if is_mig(snapshot, resource):
        instances = snapshot.instances.items()
        return {**parents, **{uuid: each.parent.uuid for uuid, each in instances}}
    return parents


def is_mig(snapshot: Snapshot, resource: str) -> bool:
    """Return True for a resource of MigInstances."""
    return not snapshot.instances.keys().isdisjoint(snapshot.catalog.parents(resource).keys())


def share_policy(snapshot: Snapshot, resource: str) -> SharePolicy:
    """Return the engine's policy for shares of GPUs.

    MigInstances do not take turns on a GPU: where Replicas are distributed, they are packed, so
    that other GPUs stay free for larger ones; unless the resource's placement is to spread.
    """
    shared = snapshot.config.flags.plugin.shared_devices_allocation_policy
    if shared is SharedPolicy.ALIGNED or not is_mig(snapshot, resource):
        return SharePolicy[shared.name]
    spread = snapshot.config.plumbline.placement.policy_of(resource) is PlacementPolicy.SPREAD
    return SharePolicy.DISTRIBUTED if spread else SharePolicy.PACKED
