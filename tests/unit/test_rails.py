"""Which NICs stand beside a GPU."""

import pytest
from builders import gpu, inventory, nic

from agent.model.inventory import Distance, NicPort, PairDistance
from agent.planning.rails import nics_beside


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
