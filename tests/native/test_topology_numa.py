"""NUMA nodes: CPUs, distances, memory and socket."""

import pytest

from tests.native.sysfs_tree import SysfsTree


@pytest.fixture
def tree(tmp_path):
    return SysfsTree(tmp_path)


def test_two_sockets(tree):
    tree.numa_node(0, "0-2,8-9", "10 21", kibibytes=1056270308)
    tree.numa_node(1, "3,5,10-11", "21 10", kibibytes=1056972228)
    tree.socket(0, 0)
    tree.socket(3, 1)

    read = tree.read()

    nodes = [(n.id, n.cpus, n.distances, n.memory_bytes, n.socket) for n in read.numa_nodes]
    assert nodes == [
        (0, [0, 1, 2, 8, 9], {0: 10, 1: 21}, 1081620795392, 0),
        (1, [3, 5, 10, 11], {0: 21, 1: 10}, 1082339561472, 1),
    ]
    assert read.warnings == []


def test_nodes_without_cpus_have_no_socket_and_distances_follow_the_ids(tree):
    # A GB200 tray: the ids of the GPUs' memory nodes leave gaps and sort as numbers.
    tree.numa_node(0, "0", "10 40 80 120")
    tree.numa_node(1, "1", "40 10 120 80")
    tree.numa_node(2, "", "80 120 10 160")
    tree.numa_node(10, "", "120 80 160 10")
    tree.socket(0, 0)
    tree.socket(1, 1)

    nodes = tree.read().numa_nodes

    assert [(n.id, n.cpus, n.socket) for n in nodes] == [
        (0, [0], 0),
        (1, [1], 1),
        (2, [], None),
        (10, [], None),
    ]
    assert nodes[3].distances == {0: 120, 1: 80, 2: 160, 10: 10}


def test_a_kernel_without_numa_has_no_nodes_and_nothing_to_warn_of(tree):
    read = tree.read()

    assert read.numa_nodes == []
    assert read.warnings == []


def test_the_socket_is_asked_of_the_next_cpu_when_the_first_does_not_know(tree):
    tree.numa_node(0, "0-3", "10")
    tree.socket(0, -1)
    tree.socket(2, 7)

    assert tree.read().numa_nodes[0].socket == 7


def test_other_entries_beside_the_nodes_are_passed_over(tree):
    tree.numa_node(0, "0", "10")
    for name in ("online", "possible", "has_cpu", "nodes", "node01", "node-1", "node"):
        tree.write(f"devices/system/node/{name}", "0")
    (tree.sys / "devices/system/node/power").mkdir()

    read = tree.read()

    assert [n.id for n in read.numa_nodes] == [0]
    assert read.warnings == []


@pytest.mark.parametrize(
    ("file", "contents", "attribute", "absent"),
    [
        ("cpulist", "0-", "cpus", []),
        ("cpulist", "3-1", "cpus", []),
        ("cpulist", "0,0", "cpus", []),
        ("cpulist", "0-4294967295", "cpus", []),
        ("cpulist", "all", "cpus", []),
        ("cpulist", "0,", "cpus", []),
        ("cpulist", ",", "cpus", []),
        ("distance", "10 banana", "distances", {}),
        ("distance", "10 21 31", "distances", {}),
        ("distance", "10 -1", "distances", {}),
        ("distance", "", "distances", {}),
        ("meminfo", "Node 0 MemFree: 12 kB", "memory_bytes", None),
        ("meminfo", "Node 0 MemTotal: 99999999999999999999 kB", "memory_bytes", None),
        ("meminfo", "Node 0 MemTotal: 12 MB", "memory_bytes", None),
    ],
)
def test_an_absurd_file_leaves_the_fact_absent_and_one_warning(
    tree, file, contents, attribute, absent
):
    tree.numa_node(0, "0", "10 21")
    tree.numa_node(1, "1", "21 10")
    tree.write(f"devices/system/node/node0/{file}", contents)

    read = tree.read()

    assert getattr(read.numa_nodes[0], attribute) == absent
    assert getattr(read.numa_nodes[1], attribute) != absent
    (warning,) = read.warnings
    assert warning.startswith(f"sys/devices/system/node/node0/{file} ")


def test_a_long_cpu_list_is_read_whole(tree):
    # 2,048 single numbers are more than one page of text.
    cpus = list(range(0, 4096, 2))
    tree.numa_node(0, ",".join(map(str, cpus)), "10")

    assert tree.read().numa_nodes[0].cpus == cpus
