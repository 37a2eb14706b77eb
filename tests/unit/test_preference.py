"""What the kubelet is told to prefer: policies by resource, the whole node, shares of GPUs."""

import pytest
from builders import gpu, inventory, numa, pairs_by_node
from msgspec.structs import replace

from agent._native import SharePolicy
from agent.config.own import PlacementPolicy, PlacementRules, Plumbline, ResourcePolicy
from agent.config.schema import Config, Flags, PluginFlags, SharedPolicy
from agent.ledger.ledger import Allocation, Ledger
from agent.planning.catalog import Catalog, OfferedDevice
from agent.planning.health import Health
from agent.planning.placement import PlacementTable
from agent.planning.preference import free_gpus, prefer
from agent.planning.shares import ShareRequest, choose_shares
from agent.planning.snapshot import build_snapshot
from agent.planning.strategy import GPU_RESOURCE

SHARED = "nvidia.com/gpu.shared"


def node(count=8):
    """GPUs of which the first half is on NUMA node 0 and the others on node 1."""
    gpus = [gpu(i, numa_node=2 * i // count) for i in range(count)]
    return inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0), numa(1)))


def snapshot(config=None, found=None, **health):
    return build_snapshot(
        config or Config(), found or node(), Health(unhealthy=health), previous=None
    )


def held(*devices, resource=GPU_RESOURCE):
    ledger = Ledger()
    confirmed = tuple(Allocation(resource=resource, device=d, holder="default/p") for d in devices)
    return replace(ledger, confirmed=confirmed)


def ids(*numbers):
    return tuple(f"GPU-{number}" for number in numbers)


def preferred(seen, size, *, ledger=None, available=None, must=(), resource=GPU_RESOURCE):
    everything = [d.id for d in seen.catalog.resources[resource]]
    return prefer(
        seen,
        ledger or Ledger(),
        resource,
        available=available or everything,
        must_include=must,
        size=size,
    ).devices


def policies(policy, **resources):
    named = tuple(
        ResourcePolicy(name=name, policy=PlacementPolicy(each)) for name, each in resources.items()
    )
    rules = PlacementRules(policy=PlacementPolicy(policy), resources=named)
    return Config(plumbline=Plumbline(placement=rules))


@pytest.mark.parametrize(
    ("general", "named", "nodes"),
    [
        ("spread", {}, 2),
        ("spread", {"gpu": "default"}, 1),
        ("default", {"gpu": "spread"}, 2),
        ("default", {"nvidia.com/gpu": "spread"}, 2),
        ("default", {"h100": "spread"}, 1),
    ],
)
def test_a_policy_holds_for_every_resource_without_its_own(general, named, nodes):
    gpus = [gpu(i, numa_node=i // 2) for i in range(4)]
    equal = pairs_by_node(gpus, across="NODE")
    found = inventory(*gpus, pairs=equal, numa_nodes=(numa(0), numa(1)))

    chosen = preferred(snapshot(policies(general, **named), found), 2)

    assert len({int(id_[-1]) // 2 for id_ in chosen}) == nodes


def test_what_is_left_is_counted_on_the_whole_node_and_not_on_the_offer():
    # The kubelet offers one GPU of each node. Node 0 has two more free, node 1 has one more:
    # node 1 is broken into anyway, and node 0 keeps three.
    free = ids(0, 1, 2, 4, 5)
    ledger = held(*(set(ids(*range(8))) - set(free)))

    whole = preferred(snapshot(), 1, ledger=ledger, available=ids(0, 4))
    blind = preferred(snapshot(), 1, available=ids(0, 4), ledger=held(*ids(4, 5, 6, 7)))

    assert whole == ids(0), "what leaves two whole pairs, {1,2} and {4,5}"
    assert blind == ids(4), "what leaves node 0 whole"


def test_free_is_what_is_healthy_and_held_by_nobody():
    seen = snapshot(**{"GPU-3": "Xid 79"})

    free = free_gpus(seen.catalog, held(*ids(0, 1)).with_grant(GPU_RESOURCE, ids(7), at_s=1))

    assert set(free) == set(ids(2, 4, 5, 6))


def divided(of_each, policy, ledger=None, parents=8, size=2, available=None, must=()):
    """Replicas of every GPU."""
    flags = Flags(plugin=PluginFlags(shared_devices_allocation_policy=SharedPolicy(policy)))
    seen = snapshot(Config(flags=flags))
    replicas = tuple(
        OfferedDevice(id=f"GPU-{g}::{n}", gpu=f"GPU-{g}", reason=None, numa_nodes=())
        for g in range(parents)
        for n in range(of_each)
    )
    seen = replace(seen, catalog=Catalog(resources={SHARED: replicas}))
    return preferred(seen, size, ledger=ledger, available=available, must=must, resource=SHARED)


def test_replicas_are_chosen_by_gpu_and_not_by_id():
    taken = held("GPU-0::0", "GPU-0::1", "GPU-1::0", resource=SHARED)
    offered = [f"GPU-{g}::{n}" for g in range(2) for n in range(4)]
    offered = [id_ for id_ in offered if id_ not in taken.held]

    assert divided(4, "distributed", taken, available=offered, size=1) == ("GPU-1::1",)
    assert divided(4, "packed", taken, available=offered, size=1) == ("GPU-0::2",)
    assert divided(4, "packed", taken, available=offered, size=2) == ("GPU-0::2", "GPU-0::3")


def test_aligned_replicas_are_of_different_gpus_of_one_node():
    chosen = divided(4, "aligned", size=4)

    parents = {int(id_.partition("::")[0][-1]) for id_ in chosen}
    assert parents in ({0, 1, 2, 3}, {4, 5, 6, 7})


def test_replicas_are_numbered_and_not_spelled():
    offered = ["GPU-0::10", "GPU-0::2", "GPU-0::9"]

    assert divided(11, "packed", available=offered, size=2) == ("GPU-0::2", "GPU-0::9")


def test_shares_that_must_be_are_and_count_on_their_gpu():
    chosen = divided(2, "distributed", must=("GPU-5::1",), size=2)

    assert "GPU-5::1" in chosen
    assert not chosen[0].startswith("GPU-5") or not chosen[1].startswith("GPU-5")


@pytest.mark.parametrize("size", [0, 3, 40])
def test_an_impossible_request_for_shares_gets_the_nearest_answer(size):
    table = PlacementTable(node(), node().gpus)
    parents = {"GPU-0::0": "GPU-0", "GPU-0::1": "GPU-0"}
    request = ShareRequest(
        available=("GPU-0::0", "stranger"),
        must_include=("GPU-0::1",),
        size=size,
        parents=parents,
    )

    chosen = choose_shares(table, request).devices

    assert set(chosen) == ({"GPU-0::0", "GPU-0::1", "stranger"} if size else set())
    assert len(chosen) == min(size, 3)


def test_a_division_says_which_one_it_beat_and_where():
    table = PlacementTable(node(4), node(4).gpus)
    parents = {f"GPU-{g}::{n}": f"GPU-{g}" for g in range(4) for n in range(2)}
    request = ShareRequest(
        available=tuple(parents), size=2, parents=parents, policy=SharePolicy.PACKED
    )

    placement = choose_shares(table, request)

    assert placement.devices == ("GPU-0::0", "GPU-0::1")
    assert placement.gpus == ("GPU-0",)
    why = placement.explanation
    assert (why.runner_up, why.lost_at) == (("GPU-1",), "order")
    assert next(iter(why.key)) == "parents"
