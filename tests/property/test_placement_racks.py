"""One and two racks of 72 GPUs: the answer is that of counting sockets."""

import random

import pytest
from placement_racks import best_of_racks, racks

from agent._native import PlacementPolicy as Policy

RACK, TWO_RACKS = racks(1), racks(2)


def some_taken(machine, seed, most):
    """Return what is free when up to ``most`` GPUs are taken at random."""
    shuffler = random.Random(seed)
    gone = shuffler.sample(range(machine.size), shuffler.randint(1, most))
    return machine.everything & ~sum(1 << rank for rank in gone)


def check(machine, available, size, policy, wanted=0):
    answer = machine.engine().choose(
        available=available,
        must=0,
        size=size,
        free=available,
        policy=policy,
        rails_wanted=wanted,
    )

    best, second, lowest = best_of_racks(machine, available, size, policy, wanted)
    assert answer.key[:-1] <= best
    if answer.exact:
        assert answer.key[:-1] == best
        assert answer.chosen == lowest
        assert (answer.runner_up_key or (None,))[:-1] == (second or ())
    return answer.exact


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 18, 31, 36, 57, 71])
def test_a_whole_rack_is_answered_exactly(policy, size):
    assert check(RACK, RACK.everything, size, policy)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 15])
@pytest.mark.parametrize("seed", range(4))
def test_a_rack_with_gpus_taken_is_answered_exactly(policy, size, seed):
    assert check(RACK, some_taken(RACK, seed, 40), size, policy)


@pytest.mark.parametrize("size", [20, 25, 31])
@pytest.mark.parametrize("seed", range(4))
def test_the_default_is_exact_for_most_of_a_rack(size, seed):
    assert check(RACK, some_taken(RACK, seed, 40), size, Policy.DEFAULT)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 36, 64, 72])
def test_two_racks_are_answered_exactly(size):
    assert check(TWO_RACKS, TWO_RACKS.everything, size, Policy.DEFAULT)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("seed", range(3))
def test_two_racks_with_gpus_taken_are_answered_exactly(policy, size, seed):
    assert check(TWO_RACKS, some_taken(TWO_RACKS, seed, 100), size, policy)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("size", [40, 71, 77, 100, 140])
def test_most_of_two_racks_is_exact_where_it_says_so(policy, size):
    check(TWO_RACKS, TWO_RACKS.everything, size, policy)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("wanted", [1, 3, 200])
def test_rails_wanted_by_number_change_nothing_where_every_gpu_has_one(policy, wanted):
    assert check(TWO_RACKS, some_taken(TWO_RACKS, 7, 60), 6, policy, wanted)
