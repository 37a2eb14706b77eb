"""The answers that the reference machines must give, each with its reason."""

from itertools import combinations

import pytest

from agent._native import PlacementPolicy
from agent.planning.placement import PlacementTable, Request


@pytest.fixture(scope="module")
def tables(inventories):
    return {name: PlacementTable(found, found.gpus) for name, found in inventories.items()}


@pytest.fixture
def place(tables, inventories):
    """Place on a machine; GPUs are named by their index."""

    def run(machine, size, *, free=None, must=(), policy=PlacementPolicy.DEFAULT, rails=0):
        by_index = {gpu.index: gpu.uuid for gpu in inventories[machine].gpus}
        indices = {uuid: index for index, uuid in by_index.items()}
        request = Request(
            available=tuple(by_index[i] for i in (by_index if free is None else free)),
            must_include=tuple(by_index[i] for i in must),
            size=size,
            policy=policy,
            rails=rails,
        )
        placement = tables[machine].choose(request)
        return {indices[uuid] for uuid in placement.devices}, placement.explanation

    return run


def chosen(answer):
    return answer[0]


def test_numa_nodes_of_one_socket_stay_together(place):
    # DGX A100 with four NUMA nodes a socket, two GPUs on each.
    assert chosen(place("dgx-a100", 4)) in ({0, 1, 2, 3}, {4, 5, 6, 7})
    assert chosen(place("dgx-a100", 2, free=[0, 2, 4, 6])) in ({0, 2}, {4, 6})


def test_sockets_are_known_with_sub_numa_clustering(place):
    assert chosen(place("dgx-b200-snc2-16nic", 4)) in ({0, 1, 2, 3}, {4, 5, 6, 7})
    assert chosen(place("dgx-b200", 4)) in ({0, 1, 2, 3}, {4, 5, 6, 7})


def test_two_gpus_with_two_rails_share_a_socket(place):
    _, why = place("dgx-h100", 2, rails=2)

    assert len(why.sockets) == 1
    # Every GPU of this machine has one compute NIC of its own; storage NICs are no rails.
    assert len(why.rails) == 2


@pytest.mark.parametrize("machine", ["dgx-h100", "dgx-h100-12nic"])
def test_the_rail_of_a_gpu_is_the_nic_on_its_own_port(place, machine):
    # NICs 1, 2, 7 and 8 are for storage: nearest to nothing, nobody's rail.
    for gpu, nic in enumerate((0, 3, 4, 5, 6, 9, 10, 11)):
        _, why = place(machine, 1, free=[gpu], rails=1)

        assert why.rails == (f"mlx5_{nic}",)


def test_two_rails_are_looked_for_where_two_gpus_of_a_socket_are(place):
    gpus, why = place("dgx-h100-12nic", 2, free=[0, 4, 6], rails=2)

    assert (gpus, why.rails) == ({4, 6}, ("mlx5_10", "mlx5_6"))


def test_storage_nics_are_no_rails(tables):
    assert len(tables["dgx-h100"].model.rail_names) == 8
    assert {mask.bit_count() for mask in tables["dgx-h100"].model.rails} == {1}


def test_a_cube_mesh_prefers_double_links_and_keeps_the_other_half_whole(place):
    _, why = place("dgx-1v", 2)
    assert why.limiting_path == "NV2"
    assert chosen(place("dgx-1v", 4)) in ({0, 1, 2, 3}, {4, 5, 6, 7})
    # With 0 and 3 gone, 1 and 2 are the pair that breaks no quad.
    assert chosen(place("dgx-1v", 2, free=[1, 2, 4, 5, 6, 7])) == {1, 2}


def test_a_cube_mesh_gives_a_single_link_before_none(place):
    # 0 and 1 have one NVLink, 6 has none to either.
    gpus, why = place("dgx-1v", 2, free=[0, 1, 6])

    assert (gpus, why.limiting_path) == ({0, 1}, "NV1")


def test_half_a_cube_mesh_is_as_fast_between_all_as_around(place):
    _, why = place("dgx-1v", 4)

    assert (why.ring_gbps, why.min_pair_gbps) == (25, 25)


def test_a_cube_mesh_is_ranked_by_its_rings(place):
    # Every set of five has a pair without NVLink, which says nothing about the rings.
    _, five = place("dgx-1v", 5)
    _, eight = place("dgx-1v", 8)

    assert (five.ring_gbps, eight.ring_gbps) == (25, 50)
    assert eight.min_pair_gbps < 25


def test_bridged_pairs_stay_whole(place):
    machine = "a100-pcie-bridges"
    free, taken = set(range(8)), []
    for _ in range(4):
        (gpu,) = chosen(place(machine, 1, free=free))
        free.discard(gpu)
        taken.append(gpu)

    # Four single GPUs come from two pairs and leave two.
    assert place(machine, 2, free=free)[1].limiting_path == "NV12"
    rest = free - chosen(place(machine, 2, free=free))
    assert place(machine, 2, free=rest)[1].limiting_path == "NV12"


def test_three_gpus_are_a_bridged_pair_and_a_neighbour(place):
    gpus, why = place("a100-pcie-bridges", 3)

    pairs = ({0, 2}, {1, 3}, {4, 5}, {6, 7})
    assert any(pair <= gpus for pair in pairs)
    assert len(why.numa_nodes) == 1


def test_where_all_is_far_numa_nodes_decide(place):
    assert chosen(place("rtx4090-8gpu-all-sys-2nic", 4)) in ({0, 1, 2, 3}, {4, 5, 6, 7})


def test_where_all_is_far_the_gpu_at_the_nics_host_bridge_serves_who_wants_one(place):
    machine = "rtx4090-8gpu-all-sys-2nic"

    assert chosen(place(machine, 1, rails=1)) == {6}
    assert chosen(place(machine, 4, rails=1)) == {4, 5, 6, 7}
    assert 6 not in chosen(place(machine, 1)), "who wants none leaves it to others"


def test_the_gpu_without_nvlinks_goes_first_also_when_one_other_is_free(place):
    # The others come free again, and a whole GPU beside them is worth more than this one.
    for other in (0, 1, 3, 4, 5, 6, 7):
        assert chosen(place("b200-degraded-gpu2-no-nvlink", 1, free=[2, other])) == {2}, other


def test_a_single_leaves_the_larger_half_to_those_who_will_need_it(place):
    # Four GPUs on one socket and two on the other, one free on each.
    assert chosen(place("pcie-6gpu-4plus2", 1, free=[0, 4])) == {4}


def test_a_gpu_without_its_nvlinks_goes_first_and_is_avoided_otherwise(place, inventories):
    machine = "b200-degraded-gpu2-no-nvlink"

    assert chosen(place(machine, 1)) == {2}
    for size in range(2, 8):
        assert 2 not in chosen(place(machine, size)), size
    gpus, why = place(machine, 8)
    assert len(gpus) == 8
    assert inventories[machine].gpus[2].uuid in why.limiting_pair
    assert why.min_pair_gbps < 100


def test_a_gpu_without_its_nvlinks_goes_first_wherever_that_keeps_a_pair(place):
    for others in combinations([0, 1, 3, 4, 5, 6, 7], 2):
        assert chosen(place("b200-degraded-gpu2-no-nvlink", 1, free=[*others, 2])) == {2}


def test_a_coherent_tray_is_paired_by_cpu(place):
    assert chosen(place("gb200-tray", 2)) in ({0, 1}, {2, 3})
    _, why = place("gb200-tray", 2)
    assert set(why.numa_nodes) <= {0, 1}


def test_a_coherent_tray_has_its_nics_by_cpu_however_far_pcie_calls_them(place):
    near = [place("gb200-tray", 1, free=[gpu], rails=1)[1].rails for gpu in range(4)]

    assert near[0] == near[1] == ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3")
    assert near[2] == near[3] == ("mlx5_4", "mlx5_5", "mlx5_6", "mlx5_7")


def test_all_pairs_of_a_coherent_tray_are_alike(place):
    for pair in combinations(range(4), 2):
        _, why = place("gb200-tray", 2, free=pair)

        assert (why.min_pair_gbps, why.limiting_path) == (900, "NV18")


def test_gpus_near_a_nic_are_kept_for_those_who_ask_for_one(place):
    machine = "hgx-a100-2nic-asym"

    assert chosen(place(machine, 2)) in ({2, 3}, {6, 7})
    assert chosen(place(machine, 2, rails=1)) in ({0, 1}, {4, 5})


def test_four_and_two(place):
    # Four GPUs on one socket, two on the other: the two go first, the four stay whole.
    assert chosen(place("pcie-6gpu-4plus2", 2)) == {4, 5}
    assert chosen(place("pcie-6gpu-4plus2", 4)) == {0, 1, 2, 3}


@pytest.mark.parametrize("size", range(1, 9))
def test_every_answer_says_what_lost_and_where(place, size):
    gpus, why = place("a100-pcie-bridges", size)

    assert len(gpus) == size
    assert why.exact
    if size == 8:
        assert (why.runner_up, why.lost_at) == (None, None)
    else:
        assert len(why.runner_up) == size
        assert why.lost_at in why.key
    assert [left.size for left in why.left] == [s for s in (2, 4, 8) if s <= 8 - size]
