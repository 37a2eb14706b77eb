"""Shares are divided as well as by trying every division."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_machines import PlacementMachine, bits, ranks
from placement_oracle import Oracle, terms_of

from agent._native import PlacementPolicy, PlacementTerm, SharePolicy, ShareTerm

SET = ("RING", "MIN_PAIR", "CLIQUE", "NUMA_NODES", "SOCKETS")
TERMS = {
    SharePolicy.PACKED: ("PARENTS", *SET, "LEFTOVER", "OPENED"),
    SharePolicy.DISTRIBUTED: ("LOAD", "PARENTS", *SET),
    SharePolicy.ALIGNED: ("PARENTS", *SET, "LOAD"),
}


@st.composite
def divisions(draw):
    count = draw(st.integers(1, 5))
    regular = draw(st.booleans())  # so that parents can stand for each other
    gbps = st.just(24) if regular else st.sampled_from([0, 8, 24, 50])
    pairs = [[0] * count for _ in range(count)]
    for a in range(count):
        for b in range(a):
            pairs[a][b] = pairs[b][a] = draw(gbps)

    def each(values):
        return draw(st.lists(values, min_size=count, max_size=count))

    machine = PlacementMachine(
        pair_gbps=pairs,
        numa=each(st.sampled_from([0, 1, 2])),
        clique=each(st.just(0) if regular else st.sampled_from([-1, 0])),
        penalty=each(st.just(0) if regular else st.sampled_from([0, 3])),
    )
    like = draw(st.one_of(st.none(), st.integers(1, 4)))
    total = each(st.integers(0, 4)) if like is None else [like] * count
    free = [draw(st.integers(0, most)) for most in total]
    must = [draw(st.sampled_from([0, 0, draw(st.integers(0, most))])) for most in total]
    room = [max(pair) for pair in zip(free, must, strict=True)]
    size = draw(st.integers(sum(must), sum(room)))
    policy = draw(st.sampled_from(list(SharePolicy)))
    asked = {"free": free, "total": total, "must": must, "size": size, "policy": policy}
    if draw(st.booleans()):
        unknown = zip(total, free, strict=True)
        asked["held"] = [draw(st.integers(0, most - offered)) for most, offered in unknown]
    return machine, asked


def key(oracle, asked, counts):
    """Return the key of a division, worked out afresh."""
    total, free, must = asked["total"], asked["free"], asked["must"]
    parents = [p for p, count in enumerate(counts) if count]
    taken = asked.get("held") or [t - f for t, f in zip(total, free, strict=True)]
    of_set = oracle.key(parents, (), PlacementPolicy.NUMA_FIRST)
    as_job = zip(
        terms_of(PlacementPolicy.DEFAULT, len(parents), 0),
        oracle.key(parents, (), PlacementPolicy.DEFAULT),
        strict=True,
    )
    pairs = len(parents) > 1
    value = {
        "PARENTS": len(parents) * (-1 if asked["policy"] is SharePolicy.PACKED else 1),
        "RING": oracle.ring(tuple(parents)) if pairs else 0,
        "MIN_PAIR": oracle.grade(tuple(parents))[0],
        "CLIQUE": dict(as_job)[PlacementTerm.CLIQUE],
        "NUMA_NODES": oracle.grade(tuple(parents))[1],
        "SOCKETS": oracle.grade(tuple(parents))[2],
        "LEFTOVER": -sum(max(total[p] - taken[p], must[p]) - counts[p] for p in parents),
        "OPENED": -sum(taken[p] == 0 for p in parents),
        "LOAD": -sum(
            1_000_000 * (taken[p] + n) // total[p] for p in parents for n in range(1, counts[p] + 1)
        ),
    }
    return tuple(value[name] for name in TERMS[asked["policy"]]) + of_set[-3:]


def every_division(asked):
    room = [max(pair) for pair in zip(asked["free"], asked["must"], strict=True)]
    spans = [range(least, most + 1) for least, most in zip(asked["must"], room, strict=True)]
    return [counts for counts in product(*spans) if sum(counts) == asked["size"]]


@settings(max_examples=300, deadline=None)
@given(divisions())
def test_no_division_is_better(case):
    machine, asked = case
    oracle = Oracle(machine)

    answer = machine.engine().choose_shares(**asked)

    assert answer.counts in every_division(asked)
    best = max(key(oracle, asked, counts) for counts in every_division(asked))
    assert key(oracle, asked, answer.counts) == best
    assert answer.key == best
    assert answer.parents == bits(*(p for p, count in enumerate(answer.counts) if count))
    names = (*TERMS[asked["policy"]], "SUM_PAIR", "PENALTY", "ORDER")
    assert answer.terms == tuple(ShareTerm[name] for name in names)
    assert answer.exact


@settings(max_examples=200, deadline=None)
@given(divisions())
def test_what_packing_leaves_is_left_on_one_parent(case):
    machine, asked = case
    asked |= {"policy": SharePolicy.PACKED, "must": [0] * machine.size}
    asked["size"] = min(asked["size"], sum(asked["free"]))

    answer = machine.engine().choose_shares(**asked)

    left = [asked["free"][p] - answer.counts[p] for p in ranks(answer.parents)]
    assert sum(count > 0 for count in left) <= 1
