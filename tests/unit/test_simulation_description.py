"""The description says what the driver must tell; the driver is not asked here."""

import itertools

import msgspec
import pytest

from agent.simulation import description, expand, machines, profile


def facts(name, **changes):
    loaded = msgspec.structs.replace(profile.load(name), **changes)
    return machines.read_facts(description.render(expand.expand(loaded)))


def test_the_first_line_is_the_version():
    spec = expand.expand(profile.load("t4-4x"))

    assert description.render(spec).splitlines()[0] == "machine 1"


def test_a_gpu_is_described():
    gpu = facts("dgx-h100")["gpu 4"]

    expected = {
        "name": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "pci_address": "0000:9d:00.0",
        "pci_device_id": "0x233010de",
        "memory_total_bytes": str(81559 << 20),
        "mig_mode": "off",
        "cpu_affinity": "56-111,168-223",
        "memory_affinity": "1",
        "fabric_state": "completed",
    }
    assert {key: gpu[key] for key in expected} == expected
    assert "numa_node_id" not in gpu


def test_socket_affinity_spans_the_nodes_of_the_socket():
    gpu = facts("dgx-a100")["gpu 0"]

    assert gpu["cpu_affinity"] == "48-63,176-191"
    assert gpu["cpu_affinity_socket"] == "0-63,128-191"


@pytest.mark.parametrize("name", profile.shipped())
def test_every_pair_has_an_ancestor(name):
    told = facts(name)
    count = sum(subject.startswith("gpu ") for subject in told)

    pairs = {f"pair {a} {b}" for a, b in itertools.combinations(range(count), 2)}
    assert {subject for subject in told if subject.startswith("pair ")} == pairs
    assert all(told[pair]["ancestor"] for pair in pairs)


def test_ancestors_are_those_of_the_tree():
    told = facts("dgx-1v")

    ancestors = [told[f"pair 0 {index}"]["ancestor"] for index in (1, 2, 4)]
    assert ancestors == ["single", "hostbridge", "system"]


def test_a_stated_distance_wins_over_the_tree():
    assert facts("a100-pcie-bridges")["pair 0 1"]["ancestor"] == "system"
    assert facts("a100-pcie-bridges", distances=())["pair 0 1"]["ancestor"] == "node"


def test_dies_of_one_board_meet_inside_it():
    dies = tuple(
        profile.Entry(gpu=index, board=1, at=f"{index + 8:02x}:00.0") for index in range(2)
    )
    board = profile.Entry(switch="plx-8747", below=dies)
    other = profile.Entry(gpu=2, at="20:00.0")
    root = profile.Root(root="0000:00", node=0, ports=(board, other))

    told = facts("t4-4x", gpu="k80", pci=(root,))

    assert told["gpu 0"]["board_id"] == told["gpu 1"]["board_id"] == "1"
    assert "board_id" not in told["gpu 2"]
    assert told["pair 0 1"]["ancestor"] == "internal"
    assert told["pair 0 2"]["ancestor"] == "hostbridge"


def test_links_are_dealt_round_the_switches():
    told = facts("dgx-h100")
    peers = [told[f"nvlink 0 {link}"]["remote_pci_address"] for link in range(18)]

    assert sorted(peers.count(f"0000:{bus:02x}:00.0") for bus in range(5, 9)) == [4, 4, 5, 5]
    assert told["nvlink 0 0"]["remote_type"] == "switch"


def test_links_that_are_down_are_the_last_ones():
    told = facts("dgx-h100", nvlink=profile.Nvlink(switched="all", down={3: 2}))

    states = [told[f"nvlink 3 {link}"]["state"] for link in range(18)]
    assert states == ["up"] * 16 + ["down"] * 2


def test_a_board_that_refuses_peer_access_says_so_of_every_pair():
    told = facts("l40s-8x", gpu="rtx-4090")

    assert {told[f"pair {a} {b}"]["p2p"] for a, b in itertools.combinations(range(8), 2)} == {
        "chipset"
    }


def test_a_coherent_gpu_names_the_node_of_its_memory():
    told = facts("gb200-tray")["gpu 1"]

    assert told["numa_node_id"] == "10"
    assert told["memory_affinity"] == "0,3-9,11-17"
    assert told["platform_tray_index"] == "4"
    assert told["c2c_links"] == "10"
