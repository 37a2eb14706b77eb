"""What the kubelet would admit: each case worked out by hand from the Topology Manager's rules."""

from builders import gpu, inventory

from agent.planning.affinity import Stock, TopologyPolicy
from agent.planning.catalog import OfferedDevice
from agent.planning.fit import Reach, Verdict, fit
from agent.planning.placement import PlacementTable

NONE, BEST_EFFORT, RESTRICTED, SINGLE = TopologyPolicy
FOUR_PAIRS = [3, 3, 1, 1, 7, 7, 5, 5]  # DGX A100 with four NUMA nodes a socket


def fitted(places, *, free=None, unhealthy=(), nodes=None):
    """Return what fits GPUs on these NUMA nodes; one is a number, several, or None."""
    listed = [_listed(place) for place in places]
    gpus = [gpu(i, numa_node=each[0] if each else None) for i, each in enumerate(listed)]
    devices = tuple(
        OfferedDevice(
            id=each.uuid,
            gpu=each.uuid,
            reason="Xid 79" if i in unhealthy else None,
            numa_nodes=listed[i],
        )
        for i, each in enumerate(gpus)
    )
    indices = range(len(places)) if free is None else free
    stock = Stock(
        devices=devices,
        free=frozenset(f"GPU-{i}" for i in indices),
        nodes=frozenset(nodes or {node for each in listed for node in each}),
    )
    return fit(stock, PlacementTable(inventory(*gpus), gpus))


def _listed(place):
    if place is None:
        return ()
    return place if isinstance(place, tuple) else (place,)


def at(found, policy, size):
    return found.policies[policy].outcomes[size - 1]


def verdicts(found, policy):
    return [each.verdict.value for each in found.policies[policy].outcomes]


def given(found, policy, size):
    return {int(id_.removeprefix("GPU-")) for id_ in at(found, policy, size).placement.devices}


def test_three_and_one_never_make_four_on_one_node():
    found = fitted([0, 0, 0, 1])

    assert verdicts(found, SINGLE) == ["admitted", "admitted", "admitted", "never"]
    assert at(found, SINGLE, 4).reason == "no NUMA node has more than 3 GPUs"
    assert at(found, SINGLE, 4).placement is None
    assert found.policies[SINGLE].sizes(Verdict.NEVER) == (4,)
    assert found.policies[SINGLE].empty.admitted == 3
    for policy in (NONE, BEST_EFFORT, RESTRICTED):
        assert given(found, policy, 4) == {0, 1, 2, 3}


def test_what_could_do_counts_what_is_taken_too():
    """One GPU free on each of four nodes: two nodes would do, where one could."""
    found = fitted(FOUR_PAIRS, free=[0, 2, 4, 6])

    assert at(found, RESTRICTED, 2).verdict is Verdict.REJECTED
    assert at(found, RESTRICTED, 2).reason == "takes 2 NUMA nodes where 1 could do"
    assert at(found, SINGLE, 2).verdict is Verdict.REJECTED
    assert at(found, SINGLE, 2).reason == "no NUMA node has 2 free"
    assert at(found, SINGLE, 3).verdict is Verdict.NEVER
    assert at(found, BEST_EFFORT, 2).verdict is Verdict.ADMITTED
    assert at(found, BEST_EFFORT, 2).preferred is False
    assert at(found, BEST_EFFORT, 2).reason == "held to NUMA nodes 1 and 3 where 1 could do"
    assert verdicts(found, NONE) == ["admitted"] * 4 + ["pending"] * 4


def test_restricted_may_admit_more_and_reject_less():
    found = fitted([0, 0, 0, 0, 1, 1, 1, 1], free=[0, 1, 2, 4, 5, 6])

    assert verdicts(found, RESTRICTED) == [
        *["admitted"] * 3, "rejected", "admitted", "admitted", "pending", "pending"
    ]  # fmt: skip
    assert found.policies[RESTRICTED].now.admitted == 6


def test_the_smallest_set_of_nodes_decides_before_the_plugin_does():
    found = fitted(FOUR_PAIRS)

    assert given(found, NONE, 2) == {0, 1}
    for policy in (BEST_EFFORT, RESTRICTED, SINGLE):
        # Node 1 before node 3: GPUs 2 and 3 before 0 and 1.
        assert given(found, policy, 2) == {2, 3}
        assert at(found, policy, 2).reason == "held to NUMA node 1"


def test_of_sets_as_narrow_the_smallest_bit_mask_wins_not_the_first_node():
    """Nodes 1 and 2 (binary 110) come before nodes 0 and 3 (binary 1001)."""
    found = fitted([0, 1, 1, 2, 2, 3, 3, 3])

    assert given(found, RESTRICTED, 4) == {1, 2, 3, 4}


def test_a_gpu_of_several_nodes_belongs_to_each():
    found = fitted([(0, 1), (0, 1), 1, 0])

    assert verdicts(found, SINGLE) == ["admitted"] * 3 + ["never"]
    assert given(found, SINGLE, 3) == {0, 1, 3}


def test_a_gpu_of_no_known_node_counts_in_no_hint():
    found = fitted([0, 0, 1, None])

    assert verdicts(found, RESTRICTED) == ["admitted"] * 3 + ["never"]
    assert at(found, RESTRICTED, 4).reason == "the NUMA node is known of 3 of 4 GPUs"
    assert at(found, BEST_EFFORT, 4).preferred is False
    assert given(found, BEST_EFFORT, 4) == {0, 1, 2, 3}
    (note,) = found.notes
    assert note == (
        "the NUMA node is not known of 1 of 4 GPUs: "
        "restricted and single-numa-node never count them"
    )


def test_those_of_a_known_node_are_forced_before_the_plugin_is_asked_for_the_rest():
    """Asked about all three free GPUs, the plugin would take 0 and 1."""
    found = fitted([None, None, 0, 1], free=[0, 1, 3])

    assert given(found, NONE, 2) == {0, 1}
    assert given(found, BEST_EFFORT, 2) == {0, 3}
    assert at(found, BEST_EFFORT, 2).reason == (
        "held to no NUMA node: the NUMA node is known of 1 of 3 free GPUs"
    )
    assert at(found, RESTRICTED, 2).verdict is Verdict.REJECTED
    assert at(found, RESTRICTED, 2).reason == "the NUMA node is known of 1 of 3 free GPUs"


def test_where_no_gpu_says_where_it_is_every_policy_admits_everything():
    found = fitted([None] * 4)

    for policy in TopologyPolicy:
        assert verdicts(found, policy) == ["admitted"] * 4
        assert at(found, policy, 4).preferred is None
    assert at(found, SINGLE, 4).reason == "the NUMA node is known of no GPU"
    assert found.policies[SINGLE].now.one_numa_node == 1
    assert len(found.notes) == 1


def test_the_only_node_of_a_machine_is_no_affinity_for_single_numa_node():
    """So the GPU of no known node may be among the two, and is where the plugin wants it."""
    places = [None, 0, 0]

    assert given(fitted(places), SINGLE, 1) == {0}
    assert given(fitted(places), RESTRICTED, 1) == {1}
    assert given(fitted(places, nodes=[0, 1]), SINGLE, 1) == {1}


def test_an_unhealthy_gpu_is_not_given_and_counts_for_what_could_do():
    found = fitted([0, 0, 1, 1], unhealthy=[0, 2])

    assert verdicts(found, RESTRICTED) == ["admitted", "rejected", "pending", "pending"]
    assert at(found, RESTRICTED, 2).reason == (
        "takes 2 NUMA nodes where 1 could do; waiting does not help, 2 are unhealthy"
    )
    assert at(found, SINGLE, 2).reason == (
        "no NUMA node has 2 free; waiting does not help, 2 are unhealthy"
    )
    assert at(found, NONE, 3).reason == "2 of 4 GPUs healthy"
    assert given(found, NONE, 2) == {1, 3}
    assert found.policies[NONE].empty.admitted == 2


def test_what_is_held_is_waited_for():
    found = fitted([0, 0, 1, 1], free=[1], unhealthy=[3])

    assert at(found, NONE, 2).verdict is Verdict.PENDING
    assert at(found, NONE, 2).reason == "1 of 4 GPUs free"
    assert at(found, NONE, 4).reason == "3 of 4 GPUs healthy"


def test_a_free_gpu_that_is_unhealthy_is_not_to_be_had():
    found = fitted([0, 0], free=[0, 1], unhealthy=[1])

    assert verdicts(found, NONE) == ["admitted", "pending"]


def test_how_far_each_policy_reaches_aligned():
    found = fitted([0, 0, 0, 1, 1], free=[0, 1, 3, 4])

    # No socket is known here, so that none is shared; and all pairs are as slow.
    assert found.best_pair_gbps == 8
    assert found.policies[NONE].now == Reach(
        admitted=4, one_numa_node=2, one_socket=1, best_pairs=4
    )
    assert found.policies[NONE].empty == Reach(
        admitted=5, one_numa_node=3, one_socket=1, best_pairs=5
    )
    assert found.policies[SINGLE].now.admitted == 2
    assert found.policies[SINGLE].empty.admitted == 3


def test_more_numa_nodes_than_the_kubelet_takes_by_default_are_told():
    assert fitted([0, 1], nodes=range(8)).notes == ()
    (note,) = fitted([0, 1], nodes=range(9)).notes
    assert note == (
        "the machine has 9 NUMA nodes: with a policy other than none the kubelet starts only "
        "with max-allowable-numa-nodes=9 or more"
    )


def test_without_gpus_nothing_fits_and_nothing_is_wrong():
    found = fitted([])

    assert found.policies[NONE].outcomes == ()
    assert found.policies[NONE].now.admitted == 0
    assert found.notes == ()


def test_every_gpu_may_have_a_node_of_its_own():
    """65535 sets of nodes; the policies share one count of them."""
    found = fitted(range(16))

    assert [each.now.admitted for each in found.policies.values()] == [16, 16, 16, 1]
