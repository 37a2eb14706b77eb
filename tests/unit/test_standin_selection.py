"""Which devices a container gets: each case worked out by hand from the kubelet's rules."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deviceplugin.standin.numa import mask_of
from deviceplugin.standin.selection import Selection, SelectionFailed, Stock, split

ON_TWO_NODES = {"a": (0,), "b": (0,), "c": (1,), "d": (1,), "e": ()}
NODE_0 = mask_of([0])


class Plugin:
    """Prefers what it is told to; remembers what it was asked."""

    def __init__(self, *preferred):
        self.preferred = preferred
        self.asked = []

    async def prefer(self, available, must_include, size):
        self.asked.append((set(available), set(must_include), size))
        return self.preferred


def stock(topology, *, healthy=None, allocated=()):
    ids = frozenset(topology)
    return Stock(
        topology=topology,
        healthy=ids if healthy is None else frozenset(healthy),
        allocated=frozenset(allocated),
    )


async def select(count, have, plugin, *, reusable=(), affinity=None, seed=0):
    selection = Selection(count, rng=random.Random(seed), prefer=plugin.prefer)
    return await selection.run("v/r", have, reusable=reusable, affinity=affinity)


async def test_fewer_than_are_aligned_the_plugin_chooses_among_the_aligned():
    plugin = Plugin("b")

    given_ = await select(1, stock(ON_TWO_NODES), plugin, affinity=NODE_0)

    assert given_ == {"b"}
    assert plugin.asked == [({"a", "b"}, set(), 1)]


async def test_as_many_as_are_aligned_the_plugin_is_not_asked():
    plugin = Plugin("c", "d")

    given_ = await select(2, stock(ON_TWO_NODES), plugin, affinity=NODE_0)

    assert given_ == {"a", "b"}
    assert plugin.asked == []


async def test_more_than_are_aligned_the_plugin_is_asked_with_all_aligned_forced():
    plugin = Plugin("a", "b", "d")

    given_ = await select(3, stock(ON_TWO_NODES), plugin, affinity=NODE_0)

    assert given_ == {"a", "b", "d"}
    assert plugin.asked == [({"a", "b", "c", "d", "e"}, {"a", "b"}, 3)]


async def test_a_plugin_that_says_nothing_gets_the_unaligned_before_those_without_topology():
    for seed in range(20):
        given_ = await select(4, stock(ON_TWO_NODES), Plugin(), affinity=NODE_0, seed=seed)
        assert given_ == {"a", "b", "c", "d"}


async def test_without_an_affinity_the_plugin_is_asked_about_everything():
    plugin = Plugin("e", "c")

    given_ = await select(2, stock(ON_TWO_NODES, allocated="a"), plugin)

    assert given_ == {"c", "e"}
    assert plugin.asked == [({"b", "c", "d", "e"}, set(), 2)]


async def test_without_an_affinity_the_plugin_is_asked_even_about_all_there_is():
    plugin = Plugin()

    given_ = await select(2, stock({"a": (), "b": ()}), plugin)

    assert given_ == {"a", "b"}
    assert plugin.asked == [({"a", "b"}, set(), 2)]


async def test_devices_to_reuse_are_taken_first_and_forced():
    plugin = Plugin("c", "d")
    have = stock(ON_TWO_NODES, allocated=["c"])

    given_ = await select(2, have, plugin, reusable=["c"])

    assert given_ == {"c", "d"}
    assert plugin.asked == [({"a", "b", "c", "d", "e"}, {"c"}, 2)]


async def test_enough_devices_to_reuse_need_no_question():
    plugin = Plugin("a")

    given_ = await select(1, stock(ON_TWO_NODES, allocated="cd"), plugin, reusable="cd")

    assert len(given_) == 1
    assert given_ < {"c", "d"}
    assert plugin.asked == []


async def test_ids_that_were_not_offered_are_ignored_and_missing_ones_filled_in():
    plugin = Plugin("c", "x", "b")

    given_ = await select(2, stock(ON_TWO_NODES, healthy="abcd"), plugin, affinity=mask_of([0, 1]))

    assert given_ == {"b", "c"}
    plugin = Plugin("x", "e")
    given_ = await select(1, stock(ON_TWO_NODES), plugin, affinity=NODE_0)
    assert given_ < {"a", "b"}


async def test_too_many_preferred_ids_give_a_random_part_of_them():
    seen = set()
    for seed in range(40):
        seen.add(await select(1, stock(ON_TWO_NODES), Plugin("b", "c", "d"), seed=seed))

    assert seen == {frozenset("b"), frozenset("c"), frozenset("d")}


async def test_unhealthy_and_allocated_devices_are_not_there():
    with pytest.raises(SelectionFailed, match="3 requested, 2 available"):
        await select(3, stock(ON_TWO_NODES, healthy="abc", allocated="c"), Plugin())


def test_a_device_of_a_node_inside_and_one_outside_is_aligned():
    parts = split(stock({"a": (0, 1), "b": (1,), "c": ()}), NODE_0)

    assert (parts.aligned, parts.unaligned, parts.without_topology) == ({"a"}, {"b"}, {"c"})


def test_an_affinity_means_nothing_to_a_resource_without_topology():
    parts = split(stock({"a": (), "b": ()}), NODE_0)

    assert (parts.aligned, parts.unaligned, parts.without_topology) == (set(), set(), {"a", "b"})


@given(
    topology=st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.lists(st.integers(0, 3), max_size=2, unique=True).map(tuple),
        min_size=1,
    ),
    affinity=st.one_of(st.none(), st.integers(1, 15)),
    preferred=st.lists(st.sampled_from("abcdefghxy")),
    seed=st.integers(0, 99),
    data=st.data(),
)
async def test_what_is_given_is_enough_free_and_as_aligned_as_can_be(
    topology, affinity, preferred, seed, data
):
    count = data.draw(st.integers(1, len(topology)))
    have = stock(topology)
    parts = split(have, affinity)

    given_ = await select(count, have, Plugin(*preferred), affinity=affinity, seed=seed)

    assert len(given_) == count
    assert given_ <= topology.keys()
    assert len(given_ & parts.aligned) == min(count, len(parts.aligned))
