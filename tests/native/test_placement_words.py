"""More devices, nodes and rails than a word has bits: nothing is lost between words."""

import pytest
from placement_machines import PlacementMachine, bits, nodes, ranks, uniform
from placement_oracle import Oracle

from agent._native import PlacementPolicy as Policy
from agent._native import SharePolicy


@pytest.mark.parametrize("count", [64, 65, 128, 129, 192, 256])
def test_every_size_is_answered_on_machines_about_as_large_as_words(count):
    machine = PlacementMachine(
        pair_gbps=uniform(count, 24), numa=nodes(*[0] * count), rails=[0] * (count - 1) + [1]
    )
    choose = machine.engine().choose
    rest = {"free": machine.everything, "policy": Policy.DEFAULT}
    for size in (0, 1, 4, count // 2, count - 1, count, count + 1, 1 << 70):
        answer = choose(available=machine.everything, must=0, size=size, **rest)
        assert ranks(answer.chosen) == list(range(min(size, count)))
    last = bits(count - 1)
    assert choose(available=0, must=0, size=3, **rest).chosen == 0
    assert choose(available=last << 1, must=last, size=3, **rest).chosen == last
    assert choose(available=last, must=bits(0, 1), size=1, **rest).chosen == 1
    with_last = choose(available=machine.everything, must=last, size=4, **rest)
    assert ranks(with_last.chosen) == [0, 1, 2, count - 1]


def test_more_nodes_sockets_and_rails_than_a_word_has_bits_are_counted():
    count = 256
    machine = PlacementMachine(
        pair_gbps=uniform(count, 24),
        numa=nodes(*range(count)),
        socket=nodes(*(i // 2 for i in range(count))),
        rails=[1 << i | 1 << (i ^ 1) for i in range(count)],
    )
    oracle = Oracle(machine)
    oracle.fragmentation = lambda _: 0
    for chosen in (range(count), range(0, count, 2), [0, 63, 64, 65, 127, 128, 255], [255]):
        for policy in Policy:
            key = machine.engine().score(bits(*chosen), free=0, policy=policy)
            assert key == oracle.key(chosen, (), policy)


def test_few_devices_on_high_nodes_and_rails_are_told_apart():
    numa = [1 << 70, 1 << 6, 1 << 70, 1 << 6]
    rails = [1 << 254, 1 << 254, 1 << 255, 1 << 62]
    machine = PlacementMachine(pair_gbps=uniform(4, 24), numa=numa, rails=rails)

    def ask(**more):
        asked = {"available": 15, "must": 0, "size": 2, "free": 15, "policy": Policy.DEFAULT}
        return ranks(machine.engine().choose(**asked | more).chosen)

    assert ask() == [0, 2]
    assert ask(available=0b1011) == [1, 3]
    assert ask(rails_wanted=2) == [0, 2]
    assert ask(rails_wanted=2, rails_free=1 << 254 | 1 << 62) == [1, 3]


def test_one_rail_more_than_a_byte_counts_wins():
    low, high = (1 << 128) - 1, (1 << 256) - (1 << 128)
    machine = PlacementMachine(
        pair_gbps=uniform(18, 24),
        numa=nodes(*[0] * 18),
        rails=[low, high & ~(1 << 200), high] + [0] * 15,
    )

    answer = machine.engine().choose(
        available=machine.everything,
        must=0,
        size=2,
        free=machine.everything,
        policy=Policy.RDMA,
    )

    assert ranks(answer.chosen) == [0, 2]
    assert ranks(answer.runner_up) == [0, 1]


def test_shares_of_more_parents_than_a_word_has_bits():
    count = 200
    machine = PlacementMachine(
        pair_gbps=uniform(count, 24), numa=nodes(*(i // 10 for i in range(count)))
    )
    full, none = [10] * count, [0] * count
    ask = machine.engine().choose_shares

    packed = ask(free=[3] * 199 + [4], total=full, must=none, size=4, policy=SharePolicy.PACKED)
    aligned = ask(free=full, total=full, must=none, size=10, policy=SharePolicy.ALIGNED)
    spread = ask(free=full, total=full, must=none, size=205, policy=SharePolicy.DISTRIBUTED)
    must = ask(
        free=full,
        total=full,
        must=[0] * 150 + [2] + [0] * 49,
        size=12,
        policy=SharePolicy.PACKED,
    )

    assert packed.parents == 1 << 199
    assert len({rank // 10 for rank in ranks(aligned.parents)}) == 1
    assert sorted(spread.counts) == [1] * 195 + [2] * 5
    assert (must.counts[150], must.parents.bit_count()) == (10, 2)
