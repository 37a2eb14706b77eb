"""From an Inventory to the answer, on any node there could be: uneven, degraded, half unknown."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from placement_facts import machine_of
from placement_machines import ranks
from placement_oracle import Oracle
from random_inventories import random_inventory

from agent._native import PlacementPolicy as Policy
from agent.planning.placement import PlacementTable, Request

COUNTS, SEEDS = st.integers(1, 12), st.integers(0, 2**32)


def question(count, seed):
    """Return a node of so many GPUs, and a Request to it; the seed decides the rest."""
    machine, shuffler = random_inventory(count, seed), random.Random(f"request {seed}")

    def some(least=0):
        uuids = [gpu.uuid for gpu in machine.gpus]
        return tuple(shuffler.sample(uuids, shuffler.randint(least, count)))

    available = some(1)
    must = tuple(sorted({*some()} & {*some()}))
    return machine, Request(
        available=available,
        must_include=must,
        size=shuffler.randint(max(1, len(must)), len({*available, *must})),
        free=some(),
        policy=shuffler.choice(list(Policy)),
        rails=shuffler.choice([0, 0, 1, 2]),
    )


def choose(machine, request):
    return PlacementTable(machine, machine.gpus).choose(request)


@settings(max_examples=150, deadline=None)
@given(COUNTS, SEEDS)
def test_pairs_are_worth_what_is_known_of_both_ends(count, seed):
    machine = random_inventory(count, seed)
    model = PlacementTable(machine, machine.gpus).model

    uuids, expected = machine_of(machine)

    assert list(model.uuids) == uuids
    assert [list(row) for row in model.pair_gbps] == expected.pair_gbps
    assert list(model.penalty) == expected.penalty
    assert list(model.clique) == expected.clique


@settings(max_examples=120, deadline=None)
@given(COUNTS, SEEDS)
def test_no_set_is_better_on_any_node(count, seed):
    machine, request = question(count, seed)
    uuids, facts = machine_of(machine)
    by_rank = {uuid: rank for rank, uuid in enumerate(uuids)}
    sets = [[by_rank[u] for u in each] for each in (request.available, request.must_include)]
    free = [by_rank[u] for u in request.free]

    placement = choose(machine, request)

    key, best = max(Oracle(facts).ranking(*sets, request.size, free, request.policy, request.rails))
    assert [by_rank[u] for u in placement.devices] == ranks(best)
    assert tuple(placement.explanation.key.values()) == key
    assert placement.explanation.exact


@settings(max_examples=80, deadline=None)
@given(COUNTS, SEEDS)
def test_neither_the_order_of_anything_nor_the_numbers_of_gpus_matter(count, seed):
    machine, request = question(count, seed)
    shuffler = random.Random(seed)

    def mixed(values):
        return tuple(shuffler.sample(values, len(values)))

    numbers = mixed(range(len(machine.gpus)))
    pairs = zip(machine.gpus, numbers, strict=True)
    shuffled = replace(
        machine,
        gpus=mixed([replace(g, index=n, minor=n) for g, n in pairs]),
        nics=mixed(machine.nics),
        numa_nodes=mixed(machine.numa_nodes),
        pairs=mixed([replace(pair, a=pair.b, b=pair.a) for pair in machine.pairs]),
    )
    asked = replace(
        request,
        available=mixed(request.available),
        must_include=mixed(request.must_include),
        free=mixed(request.free),
    )

    one, other = choose(shuffled, asked), choose(machine, request)
    assert (one.devices, one.explanation) == (other.devices, other.explanation)


@settings(max_examples=80, deadline=None)
@given(COUNTS, SEEDS)
def test_one_more_free_gpu_never_makes_the_top_of_the_key_worse(count, seed):
    machine, request = question(count, seed)
    more = random.Random(seed).choice(machine.gpus).uuid
    before = choose(machine, request).explanation.key

    after = choose(machine, replace(request, available=(*request.available, more)))

    # Up to how much more can still be placed on what stays free: with one more, no less.
    top = 1 + list(before).index("fragmentation")
    assert list(after.explanation.key)[:top] == list(before)[:top]
    assert list(after.explanation.key.values())[:top] >= list(before.values())[:top]


@settings(max_examples=80, deadline=None)
@given(COUNTS, SEEDS)
def test_what_is_not_known_never_makes_a_set_better(count, seed):
    machine, request = question(count, seed)
    unlucky = random.Random(seed).choice(machine.gpus)
    nowhere = [replace(g, numa_node=None) for g in machine.gpus]
    less = [
        replace(machine, pairs=tuple(p for p in machine.pairs if unlucky.uuid not in (p.a, p.b))),
        replace(machine, gpus=tuple(nowhere)),
        replace(
            machine,
            gpus=tuple(
                n if g is unlucky else g for g, n in zip(machine.gpus, nowhere, strict=True)
            ),
        ),
        replace(machine, numa_nodes=()),
    ]
    # The set itself is asked for, so that only its own places of the key differ.
    whole = replace(request, available=(), must_include=request.available, rails=0)
    whole = replace(whole, size=len(request.available), policy=Policy.DEFAULT)

    known = choose(machine, whole).explanation.key
    for each in less:
        unknown = choose(each, whole).explanation.key
        for name in ("ring", "min_pair", "numa_nodes", "sockets", "sum_pair"):
            assert unknown[name] <= known[name]
