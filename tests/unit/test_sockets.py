"""Sockets of NUMA nodes, by package and by distance."""

import pytest
from builders import gpu, inventory, numa, pairs_by_node
from msgspec.structs import replace

from agent.planning.placement import PlacementTable, Request
from agent.planning.sockets import sockets_of


def nodes(*rows, sockets=None, cpus=None):
    """NUMA nodes from a matrix of distances."""
    return [
        replace(
            numa(i, cpus=(i,) if cpus is None or i in cpus else ()),
            socket=sockets[i] if sockets else None,
            distances=dict(enumerate(row)),
        )
        for i, row in enumerate(rows)
    ]


NPS2 = ((10, 12, 32, 32), (12, 10, 32, 32), (32, 32, 10, 12), (32, 32, 12, 10))


def test_packages_count_whatever_the_distances():
    assert sockets_of(nodes(*NPS2, sockets=[7, 8, 7, 8])) == {0: 7, 1: 8, 2: 7, 3: 8}


def test_near_nodes_share_a_socket_where_packages_are_hidden():
    assert sockets_of(nodes(*NPS2)) == {0: 0, 1: 0, 2: 1, 3: 1}


def test_a_known_package_names_its_group_and_no_other():
    assert sockets_of(nodes(*NPS2, sockets=[0, None, None, None])) == {0: 0, 1: 0, 2: 1, 3: 1}


@pytest.mark.parametrize(
    "rows",
    [
        ((10, 21), (21, 10)),
        ((10, 12, 12), (12, 10, 32), (12, 32, 10)),
        ((10, 20, 20), (20, 10, 20), (20, 20, 10)),
        ((10, 12), ()),
        (),
    ],
)
def test_distances_that_make_no_groups_tell_nothing(rows):
    assert set(sockets_of(nodes(*rows)).values()) <= {None}


def test_memory_without_cpus_is_on_no_socket():
    found = sockets_of(nodes(*NPS2, cpus={0, 1, 2}))

    assert found == {0: 0, 1: 0, 2: 1, 3: None}


def test_two_packages_in_one_group_stay_as_they_are():
    assert sockets_of(nodes(*NPS2, sockets=[0, 1, None, None])) == {0: 0, 1: 1, 2: 2, 3: 2}


def test_placement_keeps_to_a_socket_that_only_distances_show():
    gpus = [gpu(i, numa_node=i) for i in range(4)]
    found = inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=tuple(nodes(*NPS2)))
    table = PlacementTable(found, gpus)

    placement = table.choose(Request(available=("GPU-1", "GPU-2", "GPU-3"), size=2))

    assert placement.devices == ("GPU-2", "GPU-3")
    assert placement.explanation.sockets == (1,)
