"""The topology manager's rules, by hand and against a definition written the slow way."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deviceplugin.standin.numa import (
    Hint,
    Numa,
    Policy,
    affinity,
    device_hints,
    mask_of,
    masks,
    nodes_of,
)

# DGX A100: NPS4, two GPUs on each of nodes 3, 1, 7 and 5. Nodes 0-3 are one socket.
DGX_A100 = {
    "0": (3,),
    "1": (3,),
    "2": (1,),
    "3": (1,),
    "4": (7,),
    "5": (7,),
    "6": (5,),
    "7": (5,),
}
TWO_SOCKETS_OF_FOUR_NODES = Numa(
    nodes=tuple(range(8)),
    distances={
        (a, b): 10 if a == b else 12 if a // 4 == b // 4 else 32
        for a in range(8)
        for b in range(a, 8)
    },
)


def hints_of(topology, request, *, available=None, reusable=()):
    free = topology.keys() if available is None else available
    return device_hints(topology, available=free, reusable=reusable, request=request)


def preferred(hints):
    return [nodes_of(hint.mask) for hint in hints if hint.preferred]


def test_masks_come_in_the_order_of_the_kubelet():
    assert [nodes_of(mask) for mask in masks([5, 0, 2])] == [
        (0,), (2,), (5,), (0, 2), (0, 5), (2, 5), (0, 2, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("request_", [1, 2])
def test_up_to_two_gpus_of_a_dgx_a100_fit_one_node(request_):
    hints = hints_of(DGX_A100, request_)

    assert len(hints) == 15
    assert preferred(hints) == [(1,), (3,), (5,), (7,)]


@pytest.mark.parametrize("request_", [3, 4])
def test_three_and_four_gpus_of_a_dgx_a100_prefer_any_two_nodes(request_):
    """Also {1, 7}, which crosses the sockets: hints know counts, not distances."""
    hints = hints_of(DGX_A100, request_)

    assert preferred(hints) == [(1, 3), (1, 5), (1, 7), (3, 5), (3, 7), (5, 7)]


def test_what_could_fit_counts_what_is_taken_too():
    """With one GPU free per node, two nodes are possible but one would be preferred."""
    hints = hints_of(DGX_A100, 2, available={"0", "2", "4", "6"})

    assert preferred(hints) == []
    assert [nodes_of(hint.mask) for hint in hints][:2] == [(1, 3), (1, 5)]


def test_a_device_of_several_nodes_matches_each_of_them():
    hints = hints_of({"a": (0, 1), "b": (1,)}, 2)

    assert hints == [
        Hint(mask=0b10, preferred=True),
        Hint(mask=0b11, preferred=False),
    ]


def test_devices_without_topology_never_count():
    assert hints_of({"a": (0,), "b": ()}, 2) == []


def test_devices_to_reuse_must_be_inside():
    hints = hints_of({"a": (0,), "b": (1,)}, 1, available={"b"}, reusable={"a"})

    assert hints == [Hint(mask=0b01, preferred=True), Hint(mask=0b11, preferred=False)]


def merged(*hints, policy=Policy.BEST_EFFORT, numa=None, prefer_closest=False):
    return affinity(
        hints,
        numa=numa or Numa(nodes=(0, 1)),
        policy=policy,
        prefer_closest=prefer_closest,
    )


def hint(*nodes, preferred=True):
    return Hint(mask=mask_of(nodes), preferred=preferred)


def test_without_a_policy_there_is_no_affinity():
    assert merged([], policy=Policy.NONE) == (None, True)


def test_without_preferences_every_node_will_do():
    assert merged(None, policy=Policy.RESTRICTED) == (0b11, True)
    assert merged(None, policy=Policy.SINGLE_NUMA_NODE) == (None, True)


@pytest.mark.parametrize(
    ("policy", "admitted"),
    [(Policy.BEST_EFFORT, True), (Policy.RESTRICTED, False), (Policy.SINGLE_NUMA_NODE, False)],
)
def test_what_cannot_be_satisfied_is_admitted_by_best_effort_only(policy, admitted):
    assert merged([], policy=policy)[1] is admitted


def test_hints_that_agree_on_the_narrower_mask_win():
    cpus = [hint(0), hint(1), hint(0, 1, preferred=False)]
    gpus = [hint(1), hint(0, 1, preferred=False)]

    assert merged(cpus, gpus, policy=Policy.SINGLE_NUMA_NODE) == (0b10, True)


def test_preferred_hints_that_disagree_are_not_preferred_together():
    """A CPU on one node and GPUs that need both: half the GPUs get aligned (k/k#136431)."""
    cpus = [hint(0), hint(1), hint(0, 1, preferred=False)]
    gpus = [hint(0, 1)]

    assert merged(cpus, gpus, policy=Policy.BEST_EFFORT) == (0b11, True)
    assert merged(cpus, gpus, policy=Policy.RESTRICTED) == (0b11, False)


def test_ties_go_to_the_smallest_mask_unless_the_closest_is_wanted():
    gpus = hints_of(DGX_A100, 4)
    by_width = merged(gpus, numa=TWO_SOCKETS_OF_FOUR_NODES)
    # Without GPUs on node 1, {3, 5} is the smallest pair and crosses the sockets.
    some = [each for each in gpus if not each.mask & mask_of([1])]

    assert nodes_of(by_width[0]) == (1, 3)
    assert nodes_of(merged(some, numa=TWO_SOCKETS_OF_FOUR_NODES)[0]) == (3, 5)
    closest = merged(some, numa=TWO_SOCKETS_OF_FOUR_NODES, prefer_closest=True)
    assert nodes_of(closest[0]) == (5, 7)


def test_three_on_one_node_and_one_on_the_other_are_never_single():
    """H200 with SNC: no four GPUs on one node, so the policy rejects them for ever."""
    topology = {"0": (0,), "1": (0,), "2": (0,), "3": (1,)}
    hints = hints_of(topology, 4)

    assert preferred(hints) == [(0, 1)]
    assert merged(hints, policy=Policy.RESTRICTED) == (0b11, True)
    assert merged(hints, policy=Policy.SINGLE_NUMA_NODE)[1] is False


NODES = st.sampled_from(range(4))
TOPOLOGY = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.lists(NODES, max_size=2, unique=True).map(tuple),
    max_size=8,
)


@given(topology=TOPOLOGY, request_=st.integers(1, 8), chosen=st.data())
def test_hints_are_the_sets_of_nodes_with_enough_free_devices(topology, request_, chosen):
    ids = sorted(topology)
    reusable = set(chosen.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else [])
    free = set(chosen.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []) - reusable

    found = hints_of(topology, request_, available=free, reusable=reusable)

    def has(id_, nodes):
        return bool(set(topology[id_]) & set(nodes))

    hosting = sorted({node for nodes in topology.values() for node in nodes})
    sets = [s for n in range(1, 5) for s in itertools.combinations(hosting, n)]
    widths = [len(s) for s in sets if sum(has(id_, s) for id_ in ids) >= request_]
    expected = [
        (s, len(s) == min(widths))
        for s in sets
        if all(has(id_, s) for id_ in reusable if topology[id_])
        and sum(has(id_, s) for id_ in free | reusable) >= request_
    ]
    assert [(nodes_of(h.mask), h.preferred) for h in found] == expected


HINT = st.builds(Hint, mask=st.one_of(st.none(), st.integers(1, 15)), preferred=st.booleans())
HINTS = st.one_of(st.none(), st.lists(HINT, max_size=6))


@given(
    resources=st.lists(HINTS, max_size=3),
    policy=st.sampled_from([Policy.BEST_EFFORT, Policy.RESTRICTED, Policy.SINGLE_NUMA_NODE]),
)
def test_merging_picks_the_best_of_all_combinations(resources, policy):
    """Preferred first; then the wanted width, from below, from above; then smallest."""
    numa = Numa(nodes=(0, 1, 2, 3))
    found, admitted = affinity(resources, numa=numa, policy=policy, prefer_closest=False)

    each = [
        [Hint(mask=None, preferred=True)] if hints is None
        else hints or [Hint(mask=None, preferred=False)]
        for hints in resources
    ]  # fmt: skip
    if policy is Policy.SINGLE_NUMA_NODE:
        each = [
            [h for h in hints if h.preferred and (h.mask is None or h.mask in (1, 2, 4, 8))]
            for hints in each
        ]
    wanted = max(
        (min((h.mask.bit_count() for h in hints if h.mask), default=0) for hints in each),
        default=0,
    )

    def combine(combination):
        given_masks = [h.mask for h in combination if h.mask is not None]
        mask = 15
        for given_mask in given_masks:
            mask &= given_mask
        agreed = all(m == given_masks[0] for m in given_masks)
        return mask, agreed and all(h.preferred for h in combination)

    def rank(candidate):
        mask, is_preferred = candidate
        width = mask.bit_count()
        if is_preferred:
            return (0, width, mask)
        return (1, 0, wanted - width, mask) if width <= wanted else (1, 1, width, mask)

    candidates = [combine(c) for c in itertools.product(*each)]
    usable = [candidate for candidate in candidates if candidate[0]]
    mask, is_preferred = min(usable, key=rank) if usable else (15, False)
    if policy is Policy.SINGLE_NUMA_NODE and mask == 15:
        mask = None
    assert (found, admitted) == (mask, is_preferred or policy is Policy.BEST_EFFORT)
