"""Decisions: the kubelet's question, what it allocated, and for whom, joined and weighed."""

import pytest
from builders import gpu, inventory, numa, pairs_by_node
from msgspec.structs import replace

from agent.config.schema import Config
from agent.ledger.ledger import Account, Allocation
from agent.planning.decision import Question
from agent.planning.health import Health
from agent.planning.placement import Request
from agent.planning.snapshot import build_snapshot
from agent.planning.strategy import GPU_RESOURCE
from agent.serving import decisions
from agent.serving.decisions import Decisions


@pytest.fixture(scope="module")
def snapshot():
    gpus = [gpu(i, numa_node=i // 4) for i in range(8)]
    found = inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0), numa(1)))
    return build_snapshot(Config(), found, Health(), previous=None)


@pytest.fixture
def kept():
    return Decisions(lambda at_s: at_s + 1000)


def ids(*numbers):
    return tuple(f"GPU-{number}" for number in numbers)


def question(snapshot, size, *, offered=None, free=range(8), must=(), at_s=0.0):
    """What the kubelet asks when it offers these; None when it does not ask."""
    placement = None
    if offered is not None:
        placement = snapshot.placement.choose(
            Request(available=ids(*offered), must_include=ids(*must), size=size, free=ids(*free))
        )
    return Question(
        snapshot=snapshot,
        resource=GPU_RESOURCE,
        size=size,
        at_s=at_s,
        offered=ids(*(offered or ())),
        must=ids(*must),
        free=ids(*free),
        preferred=placement,
    )


def admit(kept, snapshot, size, given, *, offered=None, free=range(8), must=(), at_s=0.0):
    """One admission as the kubelet does it; returns what is recorded of it."""
    if offered is not None:
        kept.asked(question(snapshot, size, offered=offered, free=free, must=must, at_s=at_s))
    kept.allocated(question(snapshot, size, free=free, at_s=at_s), ids(*given))
    return kept.find()[-1]


def account(asked_s=1.0, **pods):
    held = tuple(
        Allocation(resource=GPU_RESOURCE, device=device, holder=f"default/{pod}")
        for pod, devices in pods.items()
        for device in ids(*devices)
    )
    return Account(
        held=held,
        pods=frozenset(a.holder for a in held),
        kubelet="k",
        settled=True,
        asked_s=asked_s,
    )


def test_what_was_preferred_and_given_is_one_decision(kept, snapshot):
    recorded = admit(kept, snapshot, 2, (0, 1), offered=range(8))

    assert len(kept.find()) == 1
    assert (recorded["quality"], recorded["better"], recorded["preferred"]) == ("best", None, None)
    assert (recorded["offered"], recorded["size"], recorded["free"]) == (8, 2, [*range(8)])
    assert recorded["answer"]["gpus"] == [0, 1]
    assert recorded["allocated"] is True
    assert recorded["at_s"] == 1000.0


def test_a_better_set_that_was_not_offered_is_named(kept, snapshot):
    recorded = admit(kept, snapshot, 2, (0, 4), offered=(0, 4), free=(0, 4, 5, 6))

    assert recorded["quality"] == "offer"
    assert recorded["better"]["gpus"] == [4, 5], "what it was given is free to it, too"
    assert recorded["better"]["explanation"]["numa_nodes"] == [1]
    assert recorded["answer"]["explanation"]["limiting_path"] == "SYS"


def test_a_kubelet_that_chose_for_itself_is_told_from_one_that_asked(kept, snapshot):
    unasked = admit(kept, snapshot, 2, (0, 4))
    against = admit(kept, snapshot, 2, (0, 4), offered=range(8))

    assert (unasked["quality"], unasked["offered"]) == ("kubelet", 0)
    assert unasked["preferred"] is None
    assert (against["quality"], against["answer"]["gpus"]) == ("kubelet", [0, 4])
    assert against["preferred"]["gpus"] == [0, 1]


def test_without_a_choice_the_only_set_is_the_best(kept, snapshot):
    recorded = admit(kept, snapshot, 2, (0, 4), free=(0, 4))

    assert (recorded["quality"], recorded["better"]) == ("best", None)


def test_a_question_that_nothing_came_of_is_no_allocation(kept, snapshot):
    kept.asked(question(snapshot, 2, offered=range(8)))
    assert kept.find()[-1]["allocated"] is False

    later = admit(kept, snapshot, 2, (4, 5), at_s=60)

    assert [d["allocated"] for d in kept.find()] == [False, True]
    assert later["offered"] == 0


def test_a_refused_allocation_leaves_no_question_for_the_next_pod(kept, snapshot):
    kept.asked(question(snapshot, 1, offered=range(8)))
    kept.refused(GPU_RESOURCE)

    assert admit(kept, snapshot, 1, (0,))["offered"] == 0


def test_an_allocation_of_what_was_not_offered_is_of_another_pod(kept, snapshot):
    kept.asked(question(snapshot, 1, offered=range(3)))

    recorded = admit(kept, snapshot, 1, (3,))

    assert [d["allocated"] for d in kept.find()] == [False, True]
    assert (recorded["offered"], recorded["preferred"]) == (0, None)


def test_what_had_to_be_among_them_is_no_choice_of_the_best(kept, snapshot):
    recorded = admit(kept, snapshot, 2, (0, 4), offered=(0, 4, 5, 6), free=range(8), must=(0, 4))

    assert (recorded["must"], recorded["quality"]) == ([*ids(0, 4)], "offer")
    assert recorded["better"]["explanation"]["numa_nodes"] == [0]


def test_a_question_of_another_size_was_for_another_container(kept, snapshot):
    kept.asked(question(snapshot, 4, offered=range(8)))
    recorded = admit(kept, snapshot, 2, (0, 1))

    assert [d["size"] for d in kept.find()] == [4, 2]
    assert recorded["offered"] == 0


def test_the_kubelet_tells_whose_devices_they_are(kept, snapshot):
    admit(kept, snapshot, 2, (0, 1), offered=range(8))
    admit(kept, snapshot, 2, (2, 3), offered=range(2, 8))
    kept.confirmed(account(a=(0, 1), b=(2, 3)))
    # The first pod ends, and another one gets its GPUs.
    admit(kept, snapshot, 2, (0, 1), offered=(0, 1, 4, 5), at_s=2.0)
    kept.confirmed(account(asked_s=1.5, a=(0, 1), b=(2, 3)))
    assert kept.find()[-1]["pod"] is None, "what was asked before cannot tell"
    kept.confirmed(account(asked_s=2.5, c=(0, 1), b=(2, 3)))

    assert [d["pod"] for d in kept.find()] == ["default/a", "default/b", "default/c"]
    assert [d["number"] for d in kept.find(pod="default/c")] == [3]
    assert [d["number"] for d in kept.find(pod="a")] == [1]
    assert kept.find(pod="nobody") == []


def test_a_pod_that_came_later_is_not_taken_for_the_one_before(kept, snapshot):
    admit(kept, snapshot, 2, (0, 1), offered=range(8))
    admit(kept, snapshot, 2, (0, 1), offered=range(8))

    kept.confirmed(account(second=(0, 1)))

    assert [d["pod"] for d in kept.find()] == [None, "default/second"]


def test_the_last_thousand_are_kept(kept, snapshot):
    assert decisions.KEPT == 1000
    for _ in range(1005):
        kept.allocated(question(snapshot, 1), ids(0))

    numbers = [d["number"] for d in kept.find()]
    assert (numbers[0], numbers[-1], len(numbers)) == (6, 1005, 1000)
    assert [d["number"] for d in kept.find(last=2)] == [1004, 1005]


def test_every_allocation_is_told_to_who_counts_them(snapshot):
    told = []
    kept = Decisions(float, lambda question, weighed: told.append(weighed.quality))

    admit(kept, snapshot, 2, (0, 1), offered=range(8))
    kept.asked(question(snapshot, 2, offered=range(8)))

    assert told == ["best"]


def test_shares_are_described_by_their_gpus(snapshot):
    from agent.planning.catalog import Catalog, OfferedDevice

    shares = tuple(
        OfferedDevice(id=f"GPU-{g}::{n}", gpu=f"GPU-{g}", reason=None, numa_nodes=())
        for g in (0, 4)
        for n in range(2)
    )
    divided = replace(snapshot, catalog=Catalog(resources={"nvidia.com/gpu.shared": shares}))
    kept = Decisions(float)
    kept.allocated(
        Question(
            snapshot=divided,
            resource="nvidia.com/gpu.shared",
            size=2,
            at_s=0.0,
            offered=(),
            free=(),
            preferred=None,
        ),
        ("GPU-0::1", "GPU-4::0"),
    )

    (recorded,) = kept.find()
    assert (recorded["quality"], recorded["policy"]) == ("divided", "distributed")
    assert recorded["answer"]["gpus"] == [0, 4]
    assert recorded["answer"]["explanation"]["numa_nodes"] == [0, 1]
