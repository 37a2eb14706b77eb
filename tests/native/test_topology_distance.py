"""Distances in nvidia-smi's vocabulary, and the switch a device hangs on."""

import pytest

from agent._native import Distance
from tests.native.sysfs_tree import (
    BRIDGE,
    DOWNSTREAM,
    GPU,
    NIC,
    PCI_BRIDGE,
    PEX_GEN4,
    PEX_GEN5,
    ROOT_PORT,
    UPSTREAM,
    SysfsTree,
    config_space,
)

PIX, PXB, PHB, NODE, SYS = Distance

ROOT = "pci0000:15/0000:15:01.0"
SWITCH = f"{ROOT}/0000:16:00.0"
LEAF_A = f"{SWITCH}/0000:17:00.0/0000:18:00.0"  # a second switch below the first
LEAF_B = f"{SWITCH}/0000:17:01.0/0000:20:00.0"


@pytest.fixture
def tree(tmp_path):
    return SysfsTree(tmp_path)


def distance(tree, a, b):
    """Distance of two devices given by path, read both ways round."""
    for path in (a, b):
        tree.below(path, **GPU)
    read = tree.read()
    first, second = a.rsplit("/", 1)[1], b.rsplit("/", 1)[1]
    assert read.distance(first, second) is read.distance(second, first)
    return read.distance(first, second)


def test_the_values_are_those_of_nvml():
    assert {d.name: d.value for d in Distance} == {
        "PIX": 10,
        "PXB": 20,
        "PHB": 30,
        "NODE": 40,
        "SYS": 50,
    }


@pytest.mark.parametrize(
    ("expected", "a", "b"),
    [
        (PIX, f"{SWITCH}/0000:17:00.0/0000:18:00.0", f"{SWITCH}/0000:17:01.0/0000:19:00.0"),
        (PIX, f"{ROOT}/0000:16:00.0", f"{ROOT}/0000:16:00.1"),  # two functions of one card
        (PIX, f"{LEAF_A}/0000:19:00.0/0000:1a:00.0", f"{LEAF_A}/0000:19:01.0/0000:1b:00.0"),
        (PXB, f"{LEAF_A}/0000:19:00.0/0000:1a:00.0", f"{LEAF_B}/0000:21:00.0/0000:22:00.0"),
        (PXB, f"{LEAF_A}/0000:19:00.0/0000:1a:00.0", f"{SWITCH}/0000:17:02.0/0000:30:00.0"),
        (PHB, f"{ROOT}/0000:16:00.0", "pci0000:15/0000:15:03.0/0000:17:00.0"),
        (PHB, "pci0000:15/0000:15:01.0", "pci0000:15/0000:15:02.0"),  # a flat virtual machine
    ],
)
def test_distances_below_one_host_bridge(tree, expected, a, b):
    assert distance(tree, a, b) is expected


def test_a_function_beside_the_upstream_port_of_a_switch_is_one_switch_away(tree):
    below = f"{SWITCH}/0000:17:00.0/0000:18:00.0"
    beside = f"{ROOT}/0000:16:00.1"

    assert distance(tree, below, beside) is PIX


def test_a_device_is_nearest_to_itself(tree):
    tree.below(f"{ROOT}/0000:16:00.0", **GPU)

    assert tree.read().distance("0000:16:00.0", "0000:16:00.0") is PIX


def across(tree, node_a, node_b, *, nodes):
    """Distance of two devices below different host bridges, on a machine of some CPU nodes."""
    for number in range(nodes):
        tree.numa_node(number, str(number), " ".join("10" for _ in range(nodes)))
    tree.below("pci0000:10/0000:10:01.0/0000:11:00.0", **GPU, numa_node=node_a)
    tree.below("pci0000:80/0000:80:01.0/0000:81:00.0", **GPU, numa_node=node_b)
    return tree.read().distance("0000:11:00.0", "0000:81:00.0")


@pytest.mark.parametrize(
    ("node_a", "node_b", "nodes", "expected"),
    [
        ("0", "0", 2, NODE),
        ("0", "1", 2, SYS),
        ("-1", "-1", 2, SYS),
        ("0", "-1", 2, SYS),
        ("-1", "-1", 1, NODE),
        ("-1", "0", 1, NODE),
        ("-1", "-1", 0, NODE),  # a kernel without NUMA support
    ],
)
def test_distances_across_host_bridges(tree, node_a, node_b, nodes, expected):
    assert across(tree, node_a, node_b, nodes=nodes) is expected


def test_nodes_of_gpu_memory_do_not_make_a_machine_wider(tree):
    # Grace Hopper: one node with CPUs, the others hold memory of the GPU.
    for number in (1, 2):
        tree.numa_node(number, "", "10 80 80")

    assert across(tree, "-1", "-1", nodes=1) is NODE


def test_a_virtual_function_is_where_its_physical_function_is(tree):
    # The VF's folder hangs on another bus of the same port, as with many VFs.
    tree.below(f"{SWITCH}/0000:17:00.0/0000:18:00.0", **NIC)
    tree.below(f"{SWITCH}/0000:17:01.0/0000:19:00.0", **GPU)
    tree.function("pci0000:99/0000:99:00.4", **NIC)
    tree.link(
        "devices/pci0000:99/0000:99:00.4/physfn", f"devices/{SWITCH}/0000:17:00.0/0000:18:00.0"
    )

    read = tree.read()

    assert read.distance("0000:99:00.4", "0000:19:00.0") is PIX
    assert read.distance("0000:99:00.4", "0000:18:00.0") is PIX


def test_configuration_space_overrules_the_guess_from_the_structure(tree):
    # A conventional bridge where the structure alone would see an upstream port, and a
    # switch below it.
    tree.bridges(ROOT, config=config_space(ROOT_PORT))
    tree.bridges(SWITCH, config=config_space(PCI_BRIDGE))
    tree.bridges(f"{SWITCH}/0000:17:00.0", config=config_space(UPSTREAM))
    tree.bridges(f"{SWITCH}/0000:17:00.0/0000:18:00.0", config=config_space(DOWNSTREAM))
    gpu = f"{SWITCH}/0000:17:00.0/0000:18:00.0/0000:19:00.0"

    assert distance(tree, gpu, f"{SWITCH}/0000:17:01.0") is PXB
    assert tree.read().device("0000:19:00.0").switch_address == "0000:17:00.0"


def test_arm_machines_with_a_domain_for_each_root_port_are_near_by_numa_node(tree):
    # GB200 tray: GPU and NIC never share a host bridge.
    tree.numa_node(0, "0-71", "10 40")
    tree.numa_node(1, "72-143", "40 10")
    tree.below("pci0008:00/0008:00:00.0/0008:06:00.0", **GPU, numa_node="0")
    tree.below("pci0009:00/0009:00:00.0/0009:06:00.0", **GPU, numa_node="0")
    tree.below("pci0018:00/0018:00:00.0/0018:06:00.0", **GPU, numa_node="1")

    read = tree.read()

    assert read.distance("0008:06:00.0", "0009:06:00.0") is NODE
    assert read.distance("0008:06:00.0", "0018:06:00.0") is SYS


def switch_of(tree, path):
    return tree.read().device(path.rsplit("/", 1)[1]).switch_address


def test_the_switch_is_the_nearest_upstream_port(tree):
    gpu = f"{LEAF_A}/0000:19:00.0/0000:1a:00.0"
    tree.below(gpu, **GPU)

    assert switch_of(tree, gpu) == "0000:18:00.0"


def test_a_device_on_a_root_port_has_no_switch(tree):
    tree.below(f"{ROOT}/0000:16:00.0", **GPU)

    assert switch_of(tree, f"{ROOT}/0000:16:00.0") is None


def broadcom_chip(tree, outer, inner):
    """A GPU and a NIC on the two second-level switches a Broadcom chip pretends to have."""
    tree.bridges(ROOT)
    tree.bridges(f"{SWITCH}/0000:17:00.0", **outer)
    tree.bridges(f"{SWITCH}/0000:17:01.0", **outer)
    tree.bridges(f"{LEAF_A}/0000:19:00.0", **inner)
    tree.bridges(f"{LEAF_B}/0000:21:00.0", **inner)
    tree.function(f"{LEAF_A}/0000:19:00.0/0000:1a:00.0", **GPU)
    tree.function(f"{LEAF_B}/0000:21:00.0/0000:22:00.0", **NIC)
    read = tree.read()
    devices = read.device("0000:1a:00.0"), read.device("0000:22:00.0")
    return [d.switch_address for d in devices], read.distance("0000:1a:00.0", "0000:22:00.0")


def subsystem(vendor, device):
    return {"subsystem_vendor": vendor, "subsystem_device": device}


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (PEX_GEN4, PEX_GEN4),
        (PEX_GEN5, PEX_GEN5),
        (PEX_GEN4 | subsystem("0x1000", "0xa064"), PEX_GEN4 | subsystem("0x1000", "0xa064")),
        (PEX_GEN5 | subsystem("0x1000", "0x0004"), PEX_GEN5 | subsystem("0x1000", "0x1004")),
        (PEX_GEN5 | subsystem("0x15d9", "0x1d2a"), PEX_GEN5 | subsystem("0x15d9", "0x1d2a")),
    ],
)
def test_the_two_false_levels_of_a_broadcom_chip_are_one_switch(tree, outer, inner):
    switches, between = broadcom_chip(tree, outer, inner)

    assert switches == ["0000:16:00.0", "0000:16:00.0"]
    assert between is PXB  # nvidia-smi does not see through the false level


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (PEX_GEN4, PEX_GEN5),  # two chips
        (BRIDGE, PEX_GEN5),
        (BRIDGE, BRIDGE),
        # Two gen 5 chips, each at its own first level.
        (PEX_GEN5 | subsystem("0x1000", "0x0004"), PEX_GEN5 | subsystem("0x1000", "0x0004")),
    ],
)
def test_real_levels_stay_two_switches(tree, outer, inner):
    switches, between = broadcom_chip(tree, outer, inner)

    assert switches == ["0000:18:00.0", "0000:20:00.0"]
    assert between is PXB


def test_a_third_broadcom_level_is_another_chip(tree):
    third = f"{LEAF_A}/0000:19:00.0/0000:1a:00.0/0000:1b:00.0"
    tree.bridges(ROOT)
    tree.bridges(third, **PEX_GEN4)
    tree.function(f"{third}/0000:1c:00.0", **GPU)

    assert switch_of(tree, f"{third}/0000:1c:00.0") == "0000:1a:00.0"
