"""Which NICs stand beside a GPU."""

import pytest
from builders import gpu, inventory, nic
from msgspec.structs import replace

from agent.model.inventory import Distance, NicPort, PairDistance
from agent.planning.rails import nics_beside, rail_numbers


def beside(*nics_at, c2c_links=0):
    """Names beside GPU 0, given pairs of a NIC and its distance."""
    found = inventory(
        gpu(0, c2c_links=c2c_links),
        nics=tuple(n for n, _ in nics_at),
        pairs=tuple(PairDistance(a="GPU-0", b=n.name, distance=d) for n, d in nics_at),
    )
    return [n.name for n in nics_beside(found, found.gpus[0])]


def test_the_nearest_below_the_host_bridge():
    assert beside(
        (nic("mlx5_0"), Distance.PXB), (nic("mlx5_1"), Distance.PIX), (nic("mlx5_2"), Distance.NODE)
    ) == ["mlx5_1"]


@pytest.mark.parametrize("distance", [Distance.PHB, Distance.NODE, Distance.SYS])
def test_none_across_the_host_bridge(distance):
    assert beside((nic("mlx5_0"), distance)) == []


def by_gpu(*distances):
    """Which of four GPUs have mlx5_0 beside them, by its distance from each."""
    found = inventory(
        *(gpu(i) for i in range(4)),
        nics=(nic("mlx5_0"),),
        pairs=tuple(
            PairDistance(a=f"GPU-{i}", b="mlx5_0", distance=Distance(word))
            for i, word in enumerate(distances)
        ),
    )
    return [bool(nics_beside(found, each)) for each in found.gpus]


def test_where_none_is_nearer_the_host_bridge_decides():
    assert by_gpu("SYS", "SYS", "PHB", "NODE") == [False, False, True, False]


def test_a_host_bridge_counts_for_nobody_where_a_nic_is_nearer_to_somebody():
    assert by_gpu("PXB", "SYS", "PHB", "PHB") == [True, False, False, False]


def test_a_flat_tree_says_nothing():
    assert by_gpu("PHB", "PHB", "PHB", "PHB") == [False] * 4


@pytest.mark.parametrize(
    "facts",
    [
        {"ports": (NicPort(number=1, state="DOWN", rate_gbps=None, link_layer=None),)},
        {"ports": ()},
        {"rdma": False},
        {"nvlink_management": True},
    ],
)
def test_an_unusable_nic_does_not_count(facts):
    assert beside((nic("mlx5_0", **facts), Distance.PIX), (nic("mlx5_1"), Distance.PXB)) == [
        "mlx5_1"
    ]


def test_on_a_coherent_machine_the_numa_node_decides():
    assert beside(
        (nic("mlx5_0"), Distance.SYS), (nic("mlx5_5", numa_node=1), Distance.SYS), c2c_links=10
    ) == ["mlx5_0"]


def node(*facts_of_nics, gpus=2, at=None):
    """GPUs with mlx5_<i> at PIX of GPU i, or at what ``at`` says: pairs of a GPU and a NIC."""
    nics = tuple(
        nic(f"mlx5_{i}", **{"address": f"0000:f{i}:00.0", **facts})
        for i, facts in enumerate(facts_of_nics)
    )
    near = at or {(i, i) for i in range(len(nics))}
    pairs = tuple(PairDistance(a=f"GPU-{g}", b=f"mlx5_{n}", distance=Distance.PIX) for g, n in near)
    return inventory(*(gpu(i) for i in range(gpus)), nics=nics, pairs=pairs)


def numbers(found, previous=None):
    rails = rail_numbers(found, previous)
    return rails.gpus, {each.name: rails.of(each) for each in found.nics}


def test_a_gpu_and_its_nic_have_the_number_of_the_gpu_in_pci_order():
    # Firmware that counts NICs in reverse.
    found = node({}, {}, at={(0, 1), (1, 0)})

    assert numbers(found) == ({"GPU-0": 0, "GPU-1": 1}, {"mlx5_1": 0, "mlx5_0": 1})


def test_nics_beside_several_gpus_are_dealt_out_and_whoever_gets_none_shares():
    both = {(g, n) for g in (0, 1) for n in (0, 1)}
    assert numbers(node({}, {}, at=both)) == (
        {"GPU-0": 0, "GPU-1": 1},
        {"mlx5_0": 0, "mlx5_1": 1},
    )
    assert numbers(node({}, at={(0, 0), (1, 0)})) == ({"GPU-0": 0, "GPU-1": 0}, {"mlx5_0": 0})
    assert numbers(node({}, {}, at={(0, 0), (0, 1)})) == ({"GPU-0": 0}, {"mlx5_0": 0, "mlx5_1": 0})


def test_a_virtual_function_is_on_the_rail_of_its_card():
    found = node({}, {"physical_function": "0000:f0:00.0"}, at={(0, 0), (1, 1)})

    assert numbers(found) == ({"GPU-0": 0}, {"mlx5_0": 0, "mlx5_1": 0})


def test_a_port_that_is_down_changes_no_number():
    down = (NicPort(number=1, state="DOWN", rate_gbps=None, link_layer=None),)

    assert numbers(node({"ports": down}, {})) == numbers(node({}, {}))


def test_what_is_lost_leaves_its_number_free_until_something_new_comes():
    whole = node({}, {})
    first = rail_numbers(whole)
    without_gpu = replace(whole, gpus=whole.gpus[1:])
    without_nic = replace(whole, nics=whole.nics[1:])

    for lessened in (without_gpu, without_nic):
        assert rail_numbers(lessened, first) == first
    assert rail_numbers(whole, first) == first
    replaced = replace(without_gpu, gpus=(gpu(0, uuid="GPU-new"), *without_gpu.gpus))
    assert rail_numbers(replaced, first).gpus == {"GPU-1": 0}
