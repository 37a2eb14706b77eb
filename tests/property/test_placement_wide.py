"""More than 64 devices: the same answers as among fewer, and none that is beaten."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_classes import ClassOracle
from placement_machines import PlacementMachine, bits, ranks
from placement_trees import disturb, renumbered, spread_out, tree

from agent._native import PlacementPolicy as Policy

# Made by a seed: machines this large are too much to draw number by number.
RANDOM = st.builds(random.Random, st.integers(0, 1 << 32))
POLICIES = st.sampled_from(list(Policy))


def question(shuffler, machine, size, policy=Policy.DEFAULT):
    """Ask for a size out of about three quarters of what is free, that being as much."""
    half = shuffler.getrandbits
    free = (half(machine.size) | half(machine.size)) & machine.everything
    return {
        "available": free & (half(machine.size) | half(machine.size)),
        "must": 0,
        "size": size,
        "free": free,
        "policy": policy,
    }


def moved(mask, place):
    return bits(*(place[rank] for rank in ranks(mask)))


def moved_sets(asked, place):
    return asked | {name: moved(asked[name], place) for name in ("available", "must", "free")}


@settings(max_examples=60, deadline=None)
@given(RANDOM, st.integers(17, 64), st.integers(65, 256), st.integers(1, 6), POLICIES)
def test_devices_that_nothing_reaches_change_no_answer(shuffler, few, many, size, policy):
    alone = tree(shuffler, few, own_rails=shuffler.random() < 0.5)
    places = sorted(shuffler.sample(range(many), few))
    among = spread_out(alone, places, many)
    asked = question(shuffler, alone, size, policy)

    before = alone.engine().choose(**asked)
    after = among.engine().choose(**moved_sets(asked, places))

    assert (before.exact, after.exact) == (True, True)
    assert after.key[:-1] == before.key[:-1]
    assert after.chosen == moved(before.chosen, places)
    assert (after.runner_up_key or ())[:-1] == (before.runner_up_key or ())[:-1]
    assert (after.runner_up or 0) == moved(before.runner_up or 0, places)


def of_classes(shuffler, count, most):
    """Make a machine of a few classes of devices, joined at any tiers, in any order of ranks."""
    class_of = [shuffler.randrange(most) for _ in range(count)]
    hops = [[shuffler.choice([0, 8, 24, 50, 450]) for _ in range(most)] for _ in range(most)]

    def gbps(a, b):
        return 0 if a == b else hops[min(class_of[a], class_of[b])][max(class_of[a], class_of[b])]

    def each(*values):
        value_of = [shuffler.choice(values) for _ in range(most)]
        return [value_of[k] for k in class_of]

    own_rails = [1 << rank for rank in range(count)]
    machine = PlacementMachine(
        pair_gbps=[[gbps(a, b) for b in range(count)] for a in range(count)],
        numa=each(0, 1, 2, 1 << 100),
        socket=each(0, 1, 1 << 255),
        clique=each(-1, 0, 1),
        rails=shuffler.choice([own_rails, each(0, 1, 6, 1 << 200)]),
        penalty=each(0, 0, 7),
    )
    return machine, class_of


@settings(max_examples=60, deadline=None)
@given(RANDOM, st.integers(65, 110), st.integers(2, 4), st.integers(1, 9), POLICIES)
def test_no_set_is_better_where_devices_come_in_classes(shuffler, count, most, size, policy):
    machine, class_of = of_classes(shuffler, count, most)
    asked = question(shuffler, machine, size, policy)
    asked["must"] = bits(*shuffler.sample(range(count), shuffler.randint(0, min(2, size))))
    wanted, rails_free = shuffler.choice([0, 0, 2]), shuffler.choice([None, 1 << 200 | 1 << 80])
    has_rail = [rails_free is None or rails & rails_free != 0 for rails in machine.rails]
    oracle = ClassOracle(machine, list(zip(class_of, has_rail, strict=True)))
    sets = [ranks(asked[name]) for name in ("available", "must")]

    answer = machine.engine().choose(**asked, rails_wanted=wanted, rails_free=rails_free)

    free = ranks(asked["free"])
    expected = oracle.ranking(*sets, size, free, policy, wanted, rails_free)
    assert answer.exact or size > 6
    if answer.exact:
        assert (answer.key, answer.chosen) == expected[0]
    if answer.exact and len(expected) > 1:
        assert answer.runner_up_key >= expected[1][0]


@settings(max_examples=40, deadline=None)
@given(RANDOM, st.integers(65, 256), st.integers(1, 5), POLICIES)
def test_other_numbers_change_nothing_but_the_order(shuffler, count, size, policy):
    machine = tree(shuffler, count)
    place = shuffler.sample(range(count), count)
    asked = question(shuffler, machine, size, policy)

    before = machine.engine().choose(**asked)
    after = renumbered(machine, place).engine().choose(**moved_sets(asked, place))

    assert (before.exact, after.exact) == (True, True)
    assert after.key[:-1] == before.key[:-1]
    assert (after.runner_up_key or ())[:-1] == (before.runner_up_key or ())[:-1]
    old = [place.index(rank) for rank in ranks(after.chosen)]
    scored = machine.engine().score(bits(*old), free=asked["free"], policy=policy)
    assert scored[:-1] == before.key[:-1]


@settings(max_examples=40, deadline=None)
@given(RANDOM, st.integers(65, 256), st.integers(1, 40), POLICIES)
def test_no_set_at_random_beats_what_calls_itself_exact(shuffler, count, size, policy):
    machine = tree(shuffler, count, own_rails=shuffler.random() < 0.5)
    if shuffler.random() < 0.5:
        disturb(machine, shuffler, 0.05)
    asked = question(shuffler, machine, size, policy)
    pool = ranks(asked["available"])
    free, score = asked["free"], machine.engine().score

    answer = machine.engine().choose(**asked)

    chosen = ranks(answer.chosen)
    others = [shuffler.sample(pool, len(chosen)) for _ in range(200)]
    left = [rank for rank in pool if rank not in chosen]
    for gone in chosen[:20]:
        kept = [rank for rank in chosen if rank != gone]
        others += [[*kept, come] for come in shuffler.sample(left, min(len(left), 10))]
    assert score(answer.chosen, free=free, policy=policy) == answer.key
    if answer.exact:
        assert max(score(bits(*s), free=free, policy=policy) for s in others) <= answer.key
