"""Above 16 devices: exact where it says so, near it elsewhere, the same everywhere."""

import random
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_machines import PlacementMachine, bits, nodes, ranks, uniform
from placement_oracle import Oracle, terms_of
from placement_trees import disturb, tree

from agent._native import PlacementPolicy as Policy
from agent._native import PlacementTerm as Term
from agent._native import SharePolicy

LEFT = (Term.FRAGMENTATION, Term.REST_SUM, Term.REST_REACH)


@st.composite
def questions(draw, count, most):
    shuffler = draw(st.randoms(use_true_random=False))
    machine = tree(shuffler, draw(st.integers(17, count)), own_rails=draw(st.booleans()))
    if draw(st.booleans()):
        disturb(machine, shuffler, draw(st.sampled_from([0.02, 0.3])))
    free = shuffler.getrandbits(machine.size) | shuffler.getrandbits(machine.size)
    available = free & (shuffler.getrandbits(machine.size) | shuffler.getrandbits(machine.size))
    must = bits(*ranks(shuffler.getrandbits(machine.size))[: draw(st.integers(0, 1))])
    return machine, {
        "available": available,
        "must": must,
        "size": draw(st.integers(max(1, must.bit_count()), most)),
        "free": free,
        "policy": draw(st.sampled_from(list(Policy))),
        "rails_wanted": draw(st.sampled_from([0, 0, 1])),
        "rails_free": draw(st.sampled_from([None, shuffler.getrandbits(64)])),
    }


def scores(machine, asked):
    """Return the key of every allowed set, by the engine, with the set."""
    free = (asked["free"] | asked["available"]) & machine.everything
    pool = ranks(asked["available"] & ~asked["must"])
    engine = machine.engine()
    more = combinations(pool, asked["size"] - asked["must"].bit_count())
    sets = [asked["must"] | bits(*each) for each in more]
    keywords = {name: asked[name] for name in ("policy", "rails_wanted", "rails_free")}
    keywords["free"] = free
    return sorted(((engine.score(s, **keywords), s) for s in sets), reverse=True)


@settings(max_examples=120, deadline=None)
@given(questions(count=22, most=3))
def test_what_calls_itself_exact_is_the_best_of_all(case):
    machine, asked = case
    ranked = scores(machine, asked)
    if not ranked:
        return

    answer = machine.engine().choose(**asked)

    assert answer.exact
    assert (answer.key, answer.chosen) == ranked[0]
    others = ranked[1] if len(ranked) > 1 else (None, None)
    assert (answer.runner_up_key, answer.runner_up) == others


@settings(max_examples=60, deadline=None)
@given(questions(count=18, most=5))
def test_what_does_not_is_still_on_top(case):
    machine, asked = case
    ranked = scores(machine, asked)
    if not ranked:
        return

    answer = machine.engine().choose(**asked)

    if answer.exact:
        assert (answer.key, answer.chosen) == ranked[0]
    assert (answer.key, answer.chosen) in ranked[: 1 + len(ranked) // 50]


@settings(max_examples=80, deadline=None)
@given(questions(count=40, most=7))
def test_the_terms_of_a_set_are_what_they_say(case):
    machine, asked = case
    free = asked["free"] | asked["available"]
    policy, wanted, rails_free = asked["policy"], asked["rails_wanted"], asked["rails_free"]
    chosen = bits(*ranks(asked["available"])[: asked["size"]]) or 1
    rest = {"policy": policy, "rails_wanted": wanted, "rails_free": rails_free}

    key = machine.engine().score(chosen, free=free, **rest)

    terms = terms_of(policy, chosen.bit_count(), wanted)
    oracle = Oracle(machine)
    oracle.fragmentation = lambda _: 0
    expected = oracle.key(ranks(chosen), ranks(free), policy, wanted, rails_free)
    ours = dict(zip(terms, key, strict=True)) | {Term.FRAGMENTATION: 0}
    assert ours == dict(zip(terms, expected, strict=True))


@settings(max_examples=3, deadline=None)
@given(st.randoms(use_true_random=False))
def test_where_near_is_near_for_all_what_is_left_is_counted_exactly(shuffler):
    machine = tree(shuffler, 17)
    engine, oracle = machine.engine(), Oracle(machine)
    free = bits(*shuffler.sample(range(17), 9))

    assert engine.fragmentation(free) == oracle.fragmentation(tuple(ranks(free)))


def test_sixty_four_like_devices_are_one_question():
    machine = PlacementMachine(
        pair_gbps=uniform(64, 900), numa=nodes(*[0] * 64), rails=[1 << i for i in range(64)]
    )
    for size in (1, 2, 8, 32, 63):
        answer = machine.engine().choose(
            available=machine.everything,
            must=0,
            size=size,
            free=machine.everything,
            policy=Policy.DEFAULT,
        )

        assert answer.exact
        assert answer.examined <= 4
        assert ranks(answer.chosen) == list(range(size))
        assert ranks(answer.runner_up) == [*range(size - 1), size]


@settings(max_examples=25, deadline=None)
@given(st.integers(17, 64), st.integers(1, 63), st.randoms(use_true_random=False))
def test_any_size_is_answered_and_always_the_same(count, size, shuffler):
    machine = disturb(tree(shuffler, count), shuffler, 0.2)
    asked = {
        "available": shuffler.getrandbits(64),
        "must": bits(*shuffler.sample(range(count), 3)),
        "size": size,
        "free": machine.everything,
        "policy": Policy.DEFAULT,
    }
    there = (asked["available"] | asked["must"]) & machine.everything

    answer = machine.engine().choose(**asked)

    assert answer.chosen & ~there == 0
    assert answer.chosen.bit_count() == min(size, there.bit_count())
    assert answer.chosen & asked["must"] in (asked["must"], answer.chosen)
    again = PlacementMachine(**machine.facts()).engine().choose(**asked)
    assert (again.chosen, again.key, again.runner_up) == (
        answer.chosen,
        answer.key,
        answer.runner_up,
    )


def test_the_best_ring_of_fourteen_is_found_beside_a_slow_pair():
    pairs = uniform(20, 8)
    around = random.Random(4).sample(range(20), 14)
    for a, b in zip(around, [*around[1:], around[0]], strict=True):
        pairs[a][b] = pairs[b][a] = 50
    machine = PlacementMachine(pair_gbps=pairs, numa=nodes(*[0] * 20))

    answer = machine.engine().choose(
        available=machine.everything,
        must=bits(*around),
        size=14,
        free=machine.everything,
        policy=Policy.DEFAULT,
    )

    assert (answer.ring_gbps, answer.min_pair_gbps) == (50, 8)


def test_shares_of_many_parents_are_spread_and_packed():
    machine = PlacementMachine(pair_gbps=uniform(40, 24), numa=nodes(*[i // 10 for i in range(40)]))
    full = [10] * 40
    ask = machine.engine().choose_shares

    packed = ask(
        free=[3] * 20 + full[20:], total=full, must=[0] * 40, size=3, policy=SharePolicy.PACKED
    )
    aligned = ask(free=full, total=full, must=[0] * 40, size=10, policy=SharePolicy.ALIGNED)
    spread = ask(free=full, total=full, must=[0] * 40, size=45, policy=SharePolicy.DISTRIBUTED)

    assert ranks(packed.parents) == [0]
    assert len({rank // 10 for rank in ranks(aligned.parents)}) == 1
    assert sorted(spread.counts) == [1] * 35 + [2] * 5
    assert sum(spread.counts) == 45
