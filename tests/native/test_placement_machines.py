"""What the engine answers on machines of the field, each with its reason."""

import pytest
from placement_machines import (
    A100_BRIDGES,
    B200_DEGRADED,
    B200_SNC2,
    DGX_1V,
    DGX_A100,
    DGX_H100,
    EIGHT_4090,
    GB200_TRAY,
    H100_NPS4,
    HGX_A100_2NIC,
    PCIE_4_PLUS_2,
    PlacementMachine,
    bits,
    ranks,
    uniform,
)

from agent._native import PlacementPolicy
from agent._native import PlacementTerm as Term

DEFAULT, RDMA = PlacementPolicy.DEFAULT, PlacementPolicy.RDMA


def choose(machine, size, free=None, must=0, policy=DEFAULT, rails=0, rails_free=None):
    free = machine.everything if free is None else free
    return machine.engine().choose(
        available=free,
        must=must,
        size=size,
        free=free,
        policy=policy,
        rails_wanted=rails,
        rails_free=rails_free,
    )


def chosen(*arguments, **keywords):
    return ranks(choose(*arguments, **keywords).chosen)


def one_by_one(machine, count):
    """Take single devices, each from what the last one left."""
    free, taken = machine.everything, []
    for _ in range(count):
        taken += chosen(machine, 1, free)
        free &= ~bits(taken[-1])
    return taken


def test_dgx_a100_takes_four_from_one_socket_although_that_is_two_nodes():
    assert chosen(DGX_A100, 4) == [0, 1, 2, 3]
    assert chosen(DGX_A100, 4, free=bits(0, 1, 4, 5, 6, 7)) == [4, 5, 6, 7]


def test_dgx_a100_stays_in_a_socket_when_no_node_has_two_left():
    assert chosen(DGX_A100, 2, free=bits(0, 2, 4, 6)) == [0, 2]
    assert chosen(DGX_A100, 2, free=bits(0, 4, 6)) == [4, 6]


@pytest.mark.parametrize("policy", [DEFAULT, RDMA])
def test_dgx_h100_gives_two_rails_within_a_socket(policy):
    answer = choose(DGX_H100, 2, free=bits(0, 4, 5, 6, 7), policy=policy, rails=2)

    assert set(ranks(answer.chosen)) < {4, 5, 6, 7}


def test_dgx_1v_ranks_quads_by_ring_and_pair():
    answer = choose(DGX_1V, 4)

    assert ranks(answer.chosen) == [0, 1, 2, 3]
    assert (answer.ring_gbps, answer.min_pair_gbps) == (25, 25)


def test_dgx_1v_keeps_a_quad_whole_after_a_pair_is_gone():
    answer = choose(DGX_1V, 2, free=bits(1, 2, 4, 5, 6, 7))

    assert ranks(answer.chosen) == [1, 2]
    assert answer.ring_gbps == 50


@pytest.mark.parametrize(("size", "ring"), [(5, 25), (6, 25), (7, 25), (8, 50)])
def test_dgx_1v_ring_ranks_what_the_slowest_pair_cannot(size, ring):
    answer = choose(DGX_1V, size)

    assert (answer.ring_gbps, answer.min_pair_gbps) == (ring, 8)


def test_bridged_pairs_are_used_up_one_after_the_other_by_singles():
    taken = one_by_one(A100_BRIDGES, 4)

    assert taken == [0, 2, 1, 3]


def test_a_third_beside_a_bridged_pair_comes_from_its_node():
    answer = choose(A100_BRIDGES, 3, free=bits(0, 4, 5, 6))

    assert ranks(answer.chosen) == [4, 5, 6]


def test_eight_equal_gpus_are_taken_by_node():
    assert chosen(EIGHT_4090, 4) == [0, 1, 2, 3]
    assert chosen(EIGHT_4090, 4, free=bits(0, 1, 2, 4, 5, 6, 7)) == [4, 5, 6, 7]


def test_the_gpu_beside_the_nic_serves_the_single_that_wants_it_and_no_other():
    assert chosen(EIGHT_4090, 1, policy=RDMA) == [6]
    assert chosen(EIGHT_4090, 1, rails=1) == [6]
    assert 6 not in one_by_one(EIGHT_4090, 7)


def test_four_that_want_the_nic_are_on_its_socket():
    assert chosen(EIGHT_4090, 4, policy=RDMA) == [4, 5, 6, 7]
    assert chosen(EIGHT_4090, 4, rails=1) == [4, 5, 6, 7]


def test_the_gpu_without_nvlink_goes_first_alone():
    assert chosen(B200_DEGRADED, 1) == [2]


@pytest.mark.parametrize("size", range(2, 8))
def test_the_gpu_without_nvlink_is_avoided_in_sets(size):
    answer = choose(B200_DEGRADED, size)

    assert 2 not in ranks(answer.chosen)
    assert answer.ring_gbps == 900


def test_the_whole_degraded_node_is_still_given_with_its_limit_named():
    answer = choose(B200_DEGRADED, 8)

    assert answer.chosen == B200_DEGRADED.everything
    assert answer.limiting_pair == (2, 4)
    assert answer.min_pair_gbps == 8
    assert answer.runner_up is None


def test_sub_numa_clusters_are_paired_by_socket():
    assert chosen(B200_SNC2, 4) == [0, 1, 2, 3]
    assert chosen(B200_SNC2, 4, free=bits(0, 1, 4, 5, 6, 7)) == [4, 5, 6, 7]


def test_gb200_pairs_share_a_grace():
    assert chosen(GB200_TRAY, 2) == [0, 1]
    assert chosen(GB200_TRAY, 2, free=bits(0, 2, 3)) == [2, 3]


def test_one_gpu_per_node_still_pairs_by_socket():
    assert chosen(H100_NPS4, 2) == [0, 1]
    assert chosen(H100_NPS4, 2, free=bits(0, 2, 3)) == [2, 3]


@pytest.mark.parametrize("policy", [DEFAULT, RDMA])
def test_two_with_a_nic_are_both_beside_it(policy):
    assert chosen(HGX_A100_2NIC, 2, policy=policy, rails=1) == [0, 1]
    free = HGX_A100_2NIC.everything & ~bits(1)
    assert chosen(HGX_A100_2NIC, 2, free=free, policy=policy, rails=1) == [4, 5]


@pytest.mark.parametrize("policy", [DEFAULT, RDMA])
def test_a_nic_in_use_serves_nobody_else(policy):
    answer = choose(HGX_A100_2NIC, 2, policy=policy, rails=1, rails_free=bits(1))

    assert ranks(answer.chosen) == [4, 5]
    assert dict(zip(answer.terms, answer.key, strict=True))[Term.RAILS] == 1


def test_two_without_a_nic_leave_alone_what_is_in_use_too():
    assert ranks(choose(HGX_A100_2NIC, 2, rails_free=0).chosen) == [2, 3]


def test_of_gpus_alike_those_whose_rails_are_free_serve_who_wants_rails():
    count = 20
    rails = [1 << rank for rank in range(count)]
    like = PlacementMachine(pair_gbps=uniform(count, 50), numa=[1] * count, rails=rails)
    answer = choose(like, 3, rails=3, rails_free=bits(4, 9, 17, 63))

    assert ranks(answer.chosen) == [4, 9, 17]
    assert ranks(answer.runner_up) == [0, 4, 9]
    assert answer.exact


def test_two_without_a_nic_leave_it_to_others():
    assert chosen(HGX_A100_2NIC, 2) == [2, 3]
    assert chosen(HGX_A100_2NIC, 2, free=bits(0, 1, 4, 5, 6, 7)) == [0, 1]  # a quad is worth more
    assert chosen(HGX_A100_2NIC, 2, free=bits(0, 1, 4, 6, 7)) == [6, 7]


def test_the_small_socket_serves_pairs_and_singles_first():
    assert chosen(PCIE_4_PLUS_2, 1) == [4]
    assert one_by_one(PCIE_4_PLUS_2, 2) == [4, 5]
    assert chosen(PCIE_4_PLUS_2, 2) == [4, 5]
    assert chosen(PCIE_4_PLUS_2, 4) == [0, 1, 2, 3]
