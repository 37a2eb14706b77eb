"""Which MIG instances the kubelet is told to prefer: of one GPU, and so that large slots stay."""

import pytest
from builders import gpu, inventory, numa, pairs_by_node
from divided import divided

from agent.config.own import PlacementPolicy, PlacementRules, Plumbline
from agent.config.schema import Config, Flags, MigStrategy, PluginFlags, SharedPolicy
from agent.ledger.ledger import Allocation, Ledger
from agent.planning.decision import Question, document, weigh
from agent.planning.health import Health
from agent.planning.preference import free_gpus, prefer
from agent.planning.snapshot import build_snapshot

SMALL, HALF = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
SEVEN = tuple(("1g.10gb", start) for start in range(7))


def look(*gpus, shared="distributed", policy="default"):
    config = Config(
        flags=Flags(
            mig_strategy=MigStrategy.MIXED,
            plugin=PluginFlags(shared_devices_allocation_policy=SharedPolicy(shared)),
        ),
        plumbline=Plumbline(placement=PlacementRules(policy=PlacementPolicy(policy))),
    )
    found = inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0), numa(1)))
    return build_snapshot(config, found, Health(), previous=None)


def preferred(seen, size, *, held=(), must=(), resource=SMALL, offered=None):
    ledger = Ledger(
        confirmed=tuple(Allocation(resource="any", device=each, holder="a/b") for each in held)
    )
    everything = [device.id for device in seen.catalog.resources[resource]]
    available = offered or [each for each in everything if each not in held]
    return prefer(seen, ledger, resource, available=available, must_include=must, size=size).devices


def starts(seen, devices):
    """Where the chosen instances lie, by GPU."""
    found = {}
    for each in devices:
        instance = seen.instances[each]
        found.setdefault(instance.parent.index, set()).add(instance.placement.start)
    return found


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_instances_of_one_container_are_of_one_gpu(size):
    seen = look(divided(0, *SEVEN), divided(1, *SEVEN))

    assert len(starts(seen, preferred(seen, size))) == 1


def test_a_gpu_that_is_in_use_is_filled_before_another_one_is_begun():
    seen = look(divided(0, *SEVEN), divided(1, *SEVEN))

    assert set(starts(seen, preferred(seen, 1, held=["MIG-1-3-0"]))) == {1}


def test_instances_of_another_profile_count_as_use_too():
    # To the kubelet's accounts of mig-1g.10gb both GPUs are untouched.
    halves = [("3g.40gb", 4), ("1g.10gb", 0), ("1g.10gb", 1)]
    seen = look(divided(0, *halves), divided(1, *halves))

    assert set(starts(seen, preferred(seen, 1, held=["MIG-1-1-0"]))) == {1}


@pytest.mark.parametrize(
    ("held", "size", "chosen"),
    [
        ((), 3, {0, 1, 2}),  # slices 4 to 7 stay whole
        ((5,), 1, {4}),  # 0 to 3 stay whole, and of the other half the pair at 6
        ((0, 4), 1, {1}),  # both halves are broken into: the pairs at 2 and 6 stay whole
        ((0, 4), 2, {1, 5}),
        ((0, 2, 4, 6), 2, {1, 3}),
        ((2,), 2, {3, 0}),
    ],
)
def test_within_a_gpu_large_slots_stay_whole(held, size, chosen):
    seen = look(divided(0, *SEVEN))
    taken = [f"MIG-0-{start + 1}-0" for start in held]

    assert starts(seen, preferred(seen, size, held=taken)) == {0: chosen}


def test_what_must_be_among_them_is_where_the_others_gather():
    seen = look(divided(0, *SEVEN))

    assert starts(seen, preferred(seen, 2, must=["MIG-0-6-0"])) == {0: {4, 5}}


def test_parts_of_a_gpu_instance_in_use_are_taken_before_another_is_begun():
    seen = look(divided(0, ("3g.40gb", 0, (1, 1, 1)), ("3g.40gb", 4, (1, 1, 1))))

    chosen = preferred(seen, 2, held=["MIG-0-2-1"], resource="nvidia.com/mig-1c.3g.40gb")

    assert set(chosen) == {"MIG-0-2-0", "MIG-0-2-2"}


def test_an_answer_does_not_depend_on_the_order_of_the_offer():
    seen = look(divided(0, *SEVEN), divided(1, *SEVEN))
    offered = [device.id for device in seen.catalog.resources[SMALL]]

    assert preferred(seen, 3, offered=offered) == preferred(seen, 3, offered=offered[::-1])


@pytest.mark.parametrize(
    ("facts", "gpus"), [({"policy": "spread"}, 2), ({"shared": "aligned"}, 2), ({}, 1)]
)
def test_who_wants_them_apart_gets_them_from_several_gpus(facts, gpus):
    seen = look(divided(0, *SEVEN), divided(1, *SEVEN), **facts)

    assert len(starts(seen, preferred(seen, 2))) == gpus


def test_whole_gpus_beside_divided_ones_are_chosen_as_ever():
    seen = look(divided(0, *SEVEN), gpu(1), gpu(2, numa_node=1), gpu(3, numa_node=1))

    assert set(preferred(seen, 2, resource="nvidia.com/gpu")) == {"GPU-2", "GPU-3"}
    assert seen.placement.room(free_gpus(seen.catalog, Ledger())) < 1


def test_a_decision_about_instances_says_so():
    seen = look(divided(0, *SEVEN))
    placement = prefer(seen, Ledger(), SMALL, available=["MIG-0-1-0"], must_include=(), size=1)
    question = Question(
        snapshot=seen,
        resource=SMALL,
        size=1,
        at_s=0.0,
        offered=("MIG-0-1-0",),
        free=(),
        preferred=placement,
    )

    said = document(question, weigh(question, ("MIG-0-1-0",)))

    assert (said["policy"], said["quality"]) == ("packed", "divided")
    assert said["answer"].gpus == (0,)
    assert said["instances"] == [
        {
            "uuid": "MIG-0-1-0",
            "gpu": 0,
            "profile": "1g.10gb",
            "gpu_instance": 1,
            "compute_instance": 0,
            "start": 0,
            "size": 1,
        }
    ]
