"""The engine's answer is the best of all, on machines of the field and on any other."""

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_machines import MACHINES, PlacementMachine, bits, ranks
from placement_oracle import Oracle, terms_of
from placement_trees import renumbered

from agent._native import PlacementPolicy as Policy
from agent._native import PlacementTerm as Term

GBPS = st.sampled_from([0, 8, 12, 24, 25, 50, 450])


@st.composite
def machines(draw, most=12):
    count = draw(st.integers(1, most))
    pairs = [[0] * count for _ in range(count)]
    for a in range(count):
        pairs[a][a] = draw(st.integers(0, 999))
        for b in range(a):
            pairs[a][b] = pairs[b][a] = draw(GBPS)

    def each(values):
        return draw(st.lists(values, min_size=count, max_size=count))

    return PlacementMachine(
        pair_gbps=pairs,
        numa=each(st.sampled_from([0, 1, 2, 4, 6, 1 << 63])),
        socket=each(st.sampled_from([0, 1, 2])),
        clique=each(st.sampled_from([-1, 0, 1])),
        rails=each(st.sampled_from([0, 1, 3, 4, 1 << 63])),
        penalty=each(st.sampled_from([0, 0, 1, 50])),
    )


@st.composite
def requests(draw, most=12):
    machine = draw(machines(most))
    sets = st.integers(0, machine.everything)
    available = draw(sets.filter(bool))
    must = draw(sets) & draw(sets)
    least, most_size = must.bit_count(), (available | must).bit_count()
    return machine, {
        "available": available,
        "must": must,
        "size": draw(st.integers(max(1, least), most_size)),
        "free": draw(sets),
        "policy": draw(st.sampled_from(list(Policy))),
        "rails_wanted": draw(st.sampled_from([0, 0, 1, 2])),
        "rails_free": draw(st.sampled_from([None, 0, 1, 3, 6, 1 << 63, (1 << 64) - 1])),
    }


def expected(oracle, asked):
    sets = {name: ranks(asked[name]) for name in ("available", "must", "free")}
    return oracle.ranking(
        sets["available"],
        sets["must"],
        asked["size"],
        sets["free"],
        asked["policy"],
        asked["rails_wanted"],
        asked["rails_free"],
    )


def check_facts(oracle, answer):
    chosen = tuple(ranks(answer.chosen))
    values = oracle.values(chosen)
    assert answer.sum_pair_gbps == sum(values)
    if len(chosen) < 2:
        assert answer.ring_gbps is answer.min_pair_gbps is answer.limiting_pair is None
        return
    assert (answer.ring_gbps, answer.min_pair_gbps) == (oracle.ring(chosen), min(values))
    slowest = [
        (a, b) for a in chosen for b in chosen if a < b and oracle.pairs[a][b] == min(values)
    ]
    assert answer.limiting_pair == min(slowest)


@settings(max_examples=150, deadline=None)
@given(requests())
def test_no_set_is_better_on_any_machine(case):
    machine, asked = case
    oracle = Oracle(machine)

    answer = machine.engine().choose(**asked)

    best, *others = expected(oracle, asked)
    assert (answer.key, answer.chosen) == best
    assert (answer.runner_up_key, answer.runner_up) == (others[0] if others else (None, None))
    assert answer.terms == terms_of(asked["policy"], asked["size"], asked["rails_wanted"])
    assert answer.exact
    assert answer.examined == 1 + len(others)
    check_facts(oracle, answer)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("policy", list(Policy))
def test_no_set_is_better_for_any_free_set_of_a_known_machine(name, policy):
    machine = MACHINES[name]
    oracle, engine = Oracle(machine), machine.engine()
    for free in range(1, machine.everything + 1):
        for size in range(1, free.bit_count() + 1):
            answer = engine.choose(available=free, must=0, size=size, free=free, policy=policy)

            best, *others = oracle.ranking(ranks(free), [], size, ranks(free), policy)
            assert (answer.key, answer.chosen) == best
            assert answer.runner_up == (others[0][1] if others else None)


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_left_is_counted_exactly(name):
    machine = MACHINES[name]
    oracle, engine = Oracle(machine), machine.engine()
    for free in range(machine.everything + 1):
        devices = tuple(ranks(free))
        assert engine.fragmentation(free) == oracle.fragmentation(devices)
    for size in range(1, machine.size + 1):
        check_aligned(oracle, engine, machine.everything, size)
        for free in random.Random(size).sample(range(machine.everything), 10):
            check_aligned(oracle, engine, free, size)


def check_aligned(oracle, engine, free, size):
    count, least, witness = engine.largest_aligned(free, size)
    devices = tuple(ranks(free))
    if len(devices) < size:
        assert (count, least, witness) == (0, 0, 0)
        return
    assert count == oracle.packed(devices, size)
    assert witness & ~free == 0
    assert witness.bit_count() == size
    best = max(map(oracle.grade, combinations(devices, size)))
    assert oracle.grade(tuple(ranks(witness))) == best
    assert least == best[0]


@settings(max_examples=100, deadline=None)
@given(requests(), st.randoms(use_true_random=False))
def test_other_numbers_for_the_devices_change_nothing_but_the_order(case, shuffler):
    machine, asked = case
    place = list(range(machine.size))
    shuffler.shuffle(place)

    def moved(mask):
        return bits(*(place[d] for d in ranks(mask)))

    before = machine.engine().choose(**asked)
    sets = {name: moved(asked[name]) for name in ("available", "must", "free")}
    after = renumbered(machine, place).engine().choose(**asked | sets)

    assert after.key[:-1] == before.key[:-1]
    assert (after.runner_up_key or ())[:-1] == (before.runner_up_key or ())[:-1]


@settings(max_examples=100, deadline=None)
@given(requests(), st.integers(0))
def test_one_more_device_never_makes_the_first_terms_worse(case, more):
    machine, asked = case
    engine = machine.engine()
    before = engine.choose(**asked)

    asked["available"] |= more & machine.everything
    after = engine.choose(**asked)

    terms = before.terms
    first = terms[: min(terms.index(term) for term in (Term.FRAGMENTATION, Term.REST_SUM)) + 1]
    assert after.key[: len(first)] >= before.key[: len(first)]


@settings(max_examples=100, deadline=None)
@given(requests())
def test_a_score_is_the_key_of_the_choice(case):
    machine, asked = case
    answer = machine.engine().choose(**asked)
    free = asked["free"] | asked["available"]

    rest = {name: asked[name] for name in ("policy", "rails_wanted", "rails_free")}
    assert machine.engine().score(answer.chosen, free=free, **rest) == answer.key
    if answer.runner_up is not None:
        assert machine.engine().score(answer.runner_up, free=free, **rest) == answer.runner_up_key
