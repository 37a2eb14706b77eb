"""Every request has an answer; facts that cannot be are refused by name."""

import threading

import pytest
from placement_machines import (
    B200_DEGRADED,
    DGX_1V,
    DGX_H100,
    PlacementMachine,
    bits,
    ranks,
    uniform,
)

from agent._native import Choice, PlacementEngine, PlacementPolicy, SharePolicy

DEFAULT = PlacementPolicy.DEFAULT


def choose(machine, **asked):
    asked = {"must": 0, "free": machine.everything, "policy": DEFAULT} | asked
    return machine.engine().choose(**asked)


def test_bits_of_no_device_are_ignored():
    plain = choose(DGX_1V, available=0xFF, size=4)

    assert choose(DGX_1V, available=(1 << 200) - 1, free=(1 << 90) - 1, size=4).key == plain.key
    assert choose(DGX_1V, available=0xFF00, must=1 << 70, size=2).chosen == 0


def test_more_than_there_is_gives_all_there_is():
    answer = choose(DGX_1V, available=bits(0, 3), must=bits(5), size=1 << 70)

    assert ranks(answer.chosen) == [0, 3, 5]
    assert answer.runner_up is None
    assert answer.runner_up_key is None
    assert (answer.exact, answer.examined) == (True, 1)


def test_more_required_than_asked_for_gives_the_lowest_ranks_of_it():
    assert ranks(choose(DGX_1V, available=0xFF, must=bits(1, 5, 6), size=2).chosen) == [1, 5]


def test_required_devices_may_not_be_available():
    answer = choose(DGX_1V, available=bits(1, 2, 4, 7), must=bits(5), size=2)

    assert ranks(answer.chosen) == [1, 5]  # two links, though it crosses the sockets
    assert answer.ring_gbps == 50


def test_nothing_asked_is_nothing_given():
    answer = choose(DGX_1V, available=0xFF, size=0)

    assert answer.chosen == 0
    assert answer.ring_gbps is answer.min_pair_gbps is answer.limiting_pair is None
    assert choose(DGX_1V, available=0, size=3).chosen == 0


def test_one_device_has_no_ring():
    answer = choose(DGX_1V, available=bits(3), size=1)

    assert (answer.chosen, answer.ring_gbps, answer.sum_pair_gbps) == (bits(3), None, 0)


def test_the_node_decides_what_stays_free_and_not_the_offer():
    offered = bits(1, 4)

    assert ranks(choose(DGX_1V, available=offered, free=bits(1, 2, 4), size=1).chosen) == [4]
    assert ranks(choose(DGX_1V, available=offered, free=bits(1, 4, 7), size=1).chosen) == [1]


@pytest.mark.parametrize(
    "name", ["available", "must", "size", "free", "rails_wanted", "rails_free"]
)
def test_a_negative_number_is_refused(name):
    asked = {"available": 3, "must": 0, "size": 1, "free": 3, "policy": DEFAULT}

    with pytest.raises(ValueError, match=f"{name} is -7, below 0"):
        DGX_1V.engine().choose(**asked | {name: -7})


def facts(**changes):
    return DGX_H100.facts() | changes


def changed(row, column, value):
    pairs = [list(each) for each in DGX_H100.pair_gbps]
    pairs[row][column] = value
    return pairs


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"pair_gbps": []}, "pair_gbps has 0 rows"),
        ({"pair_gbps": uniform(257, 1)}, "pair_gbps has 257 rows, not between 1 and 256"),
        ({"pair_gbps": [[0, 1]] * 8}, r"pair_gbps\[0\] has 2 entries for 8 devices"),
        ({"pair_gbps": changed(2, 5, 300)}, r"pair_gbps\[5\]\[2\] is 450 but .*\[2\]\[5\] is 300"),
        ({"pair_gbps": changed(2, 5, -1)}, r"pair_gbps\[2\]\[5\] is -1"),
        ({"pair_gbps": changed(2, 5, 1 << 40)}, r"pair_gbps\[2\]\[5\] is 1099511627776"),
        ({"numa": [1]}, "numa has 1 entries for 8 devices"),
        ({"socket": [1] * 9}, "socket has 9 entries"),
        ({"clique": [0] * 7 + [-2]}, r"clique\[7\] is -2"),
        ({"rails": []}, "rails has 0 entries"),
        ({"penalty": [0, -1, *[0] * 6]}, r"penalty\[1\] is -1"),
    ],
)
def test_facts_that_cannot_be_are_refused_by_name(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        PlacementEngine(**facts(**changes))


def test_the_diagonal_may_hold_anything():
    odd = PlacementEngine(**facts(pair_gbps=changed(3, 3, -5)))

    assert odd.fragmentation(0xFF) == DGX_H100.engine().fragmentation(0xFF)


def test_a_slow_pair_inside_a_rejected_set_is_visible_in_its_key():
    answer = choose(B200_DEGRADED, available=bits(0, 1, 2), size=2)

    assert ranks(answer.chosen) == [0, 1]
    assert ranks(answer.runner_up) == [0, 2]
    assert answer.key[0] == 900
    assert answer.runner_up_key[0] == 12


def test_choices_are_values():
    answer = choose(DGX_1V, available=0xFF, size=2)

    with pytest.raises(AttributeError):
        answer.chosen = 3
    with pytest.raises(TypeError):
        Choice()


def test_threads_share_an_engine():
    machine = PlacementMachine(pair_gbps=uniform(16, 50), numa=[1] * 8 + [2] * 8)
    expected = choose(machine, available=0xFFFF, size=8).key
    answers = []

    def ask():
        answers.extend(choose(machine, available=0xFFFF, size=8).key for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [expected] * 200


def test_tables_of_sixteen_stay_small():
    machine = PlacementMachine(pair_gbps=uniform(16, 50), numa=[1] * 15 + [0])

    assert machine.engine().table_bytes < 4 << 20


def divide(machine, **asked):
    count = machine.size
    asked = {"must": [0] * count, "policy": SharePolicy.PACKED, "total": [4] * count} | asked
    return machine.engine().choose_shares(**asked)


def test_more_shares_than_there_are_give_all_of_them():
    answer = divide(DGX_1V, free=[1] * 8, size=100)

    assert answer.counts == (1,) * 8


def test_more_required_shares_than_asked_for_give_the_lowest_ranks_of_them():
    answer = divide(DGX_1V, free=[4] * 8, must=[0, 2, 0, 2, 0, 0, 0, 0], size=3)

    assert answer.counts == (0, 2, 0, 1, 0, 0, 0, 0)


def test_no_share_asked_is_none_given():
    answer = divide(DGX_1V, free=[4] * 8, size=0)

    assert (answer.counts, answer.parents) == ((0,) * 8, 0)


def test_packed_shares_fill_the_fullest_parent_and_keep_the_others_whole():
    assert divide(DGX_1V, free=[4, 4, 1, 4, 4, 2, 4, 4], size=1).counts[2] == 1
    assert divide(DGX_1V, free=[4, 4, 1, 4, 4, 2, 4, 4], size=2).counts[5] == 2


def test_shares_over_two_parents_are_on_the_best_joined_two():
    packed = divide(DGX_1V, free=[0, 4, 4, 0, 4, 4, 4, 4], size=8)
    aligned = divide(DGX_1V, free=[4] * 8, size=4, policy=SharePolicy.ALIGNED)

    assert ranks(packed.parents) == [1, 2]
    assert aligned.counts == (1, 1, 1, 1, 0, 0, 0, 0)


def test_distributed_shares_count_what_the_node_has_given_already():
    answer = divide(DGX_1V, free=[4, 1, 4, 1, 1, 1, 1, 1], size=2, policy=SharePolicy.DISTRIBUTED)

    assert answer.counts == (1, 0, 1, 0, 0, 0, 0, 0)


def test_what_is_held_decides_and_not_what_is_offered():
    offered = {"free": [1, 1, 0, 1, 0, 0, 0, 0], "held": [0, 3, 0, 1, 0, 0, 0, 0]}
    ask = {policy: divide(DGX_1V, **offered, size=1, policy=policy) for policy in SharePolicy}

    assert ask[SharePolicy.PACKED].counts[1] == 1  # nothing is left there then
    assert ask[SharePolicy.DISTRIBUTED].counts[0] == 1
    leftover, opened = ask[SharePolicy.PACKED].key[6:8]
    assert (leftover, opened) == (0, 0)
    assert ask[SharePolicy.DISTRIBUTED].key[0] == -250_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"held": [0] * 9}, "held has 9 entries for 8 devices"),
        ({"held": [0] * 7 + [-1]}, r"held\[7\] is -1, not between 0 and 4"),
        ({"free": [3] * 8, "held": [1, 2] + [0] * 6}, r"held\[1\] is 2, not between 0 and 1"),
        ({"free": [5] + [0] * 7}, r"free\[0\] is 5, not between 0 and 4"),
        ({"free": [0] * 7}, "free has 7 entries for 8 devices"),
        ({"must": [0, -1] + [0] * 6}, r"must\[1\] is -1"),
        ({"total": [4] * 7 + [1 << 40]}, r"total\[7\] is 1099511627776"),
        ({"size": -1}, "size is -1, below 0"),
    ],
)
def test_shares_that_cannot_be_are_refused_by_name(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        divide(DGX_1V, **{"free": [0] * 8, "size": 1} | changes)
