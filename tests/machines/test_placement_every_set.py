"""On every captured machine, the answer to every request is the best of all sets there are.

From the text of the capture to the answer: the machine is simulated and looked at as the agent
does, and the best set is worked out from what tests/machines/facts.py reads off the text.
"""

import random

import pytest
from placement_machines import ranks
from placement_oracle import Oracle

from agent._native import PlacementPolicy as Policy
from agent.planning.placement import PlacementTable, Request
from tests.machines import facts, matrix


@pytest.fixture(params=matrix.CAPTURES)
def capture(request):
    return request.param


@pytest.fixture
def oracle(capture):
    return Oracle(facts.machine(capture))


@pytest.fixture
def ask(inventories, capture):
    """Ask for GPUs by index, their ids in random order; return the set and its key."""
    inventory, shuffler = inventories[capture], random.Random(capture)
    table = PlacementTable(inventory, inventory.gpus)
    uuids = [gpu.uuid for gpu in inventory.gpus]

    def named(mask):
        return tuple(shuffler.sample([uuids[i] for i in ranks(mask)], mask.bit_count()))

    def run(available, size, *, must=0, free=0, policy=Policy.DEFAULT, rails=0):
        placement = table.choose(
            Request(
                available=named(available),
                must_include=named(must),
                size=size,
                free=named(free),
                policy=policy,
                rails=rails,
            )
        )
        chosen = sum(1 << uuids.index(uuid) for uuid in placement.devices)
        return tuple(placement.explanation.key.values()), chosen

    return run


def test_a_pair_is_worth_what_its_word_in_the_capture_says(inventories, capture):
    inventory, expected = inventories[capture], facts.machine(capture)
    model = PlacementTable(inventory, inventory.gpus).model

    assert [inventory.gpu(uuid).index for uuid in model.uuids] == list(range(expected.size))
    assert [list(row) for row in model.pair_gbps] == expected.pair_gbps
    assert list(model.penalty) == expected.penalty


def test_no_set_is_better_for_any_free_set_and_size(ask, oracle):
    for free in range(1, 1 << oracle.size):
        for size in range(1, free.bit_count() + 1):
            best = max(oracle.ranking(ranks(free), [], size, ranks(free), Policy.DEFAULT))

            assert ask(free, size) == best


@pytest.mark.parametrize("policy", list(Policy))
def test_no_set_is_better_whatever_else_is_asked(ask, oracle, capture, policy):
    shuffler = random.Random(f"{capture} {policy}")
    for _ in range(60):
        available, free = (shuffler.randrange(1, 1 << oracle.size) for _ in range(2))
        must = shuffler.choice([0, available & shuffler.getrandbits(oracle.size)])
        size = shuffler.randint(max(1, must.bit_count()), available.bit_count())
        rails = shuffler.choice([0, 0, 1, 2])
        sets = (ranks(available), ranks(must), size, ranks(free))
        best = max(oracle.ranking(*sets, policy, rails))

        assert ask(available, size, must=must, free=free, policy=policy, rails=rails) == best
