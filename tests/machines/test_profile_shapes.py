"""The machines made from profiles have the shapes of the real ones (sources in the profiles)."""

import pytest

from agent.model.inventory import Distance, LinkPeer
from agent.simulation import lists
from tests.machines import matrix
from tests.machines.test_import_classes import nic_name, printed

CAPTURED = {
    "dgx-h100": "dgx-h100-12nic",
    "dgx-a100": "dgx-a100-12nic",
    "dgx-1v": "dgx1v-4nic",
    "dgx-b200": "dgx-b200-snc2-16nic",
    "l40s-8x": "l40s-8gpu-2socket-vm",
    "a100-pcie-bridges": "a100-pcie-8gpu-bridges",
}
GPU_ADDRESSES = {
    "dgx-h100": "1b 43 52 61 9d c3 d1 df",
    "dgx-a100": "07 0f 47 4e 87 90 b7 bd",
    "dgx-1v": "06 07 0a 0b 85 86 89 8a",
}


@pytest.mark.parametrize(("profile", "capture"), CAPTURED.items())
def test_a_profile_shows_what_the_real_machine_showed(inventories, profile, capture):
    expected = matrix.cells(capture)

    assert {pair: printed(inventories[profile], *pair) for pair in expected} == expected


@pytest.mark.parametrize(("profile", "capture"), CAPTURED.items())
def test_a_profile_has_the_affinities_of_the_real_machine(inventories, profile, capture):
    for gpu in inventories[profile].gpus:
        cpus, nodes, _ = matrix.affinities(capture)[f"GPU{gpu.index}"]

        assert lists.render(gpu.cpu_affinity) == cpus
        assert nodes in (None, str(gpu.numa_node))


@pytest.mark.parametrize(("profile", "buses"), GPU_ADDRESSES.items())
def test_gpus_have_the_addresses_of_the_real_machine(inventories, profile, buses):
    found = [gpu.address for gpu in inventories[profile].gpus]

    assert found == [f"0000:{bus}:00.0" for bus in buses.split()]


def test_the_profiles_are_the_documented_ones(inventories):
    assert set(CAPTURED) | {"gb200-tray", "gh200", "t4-4x"} == set(inventories) - set(
        matrix.CAPTURES
    )


@pytest.mark.parametrize("name", [*CAPTURED, "gb200-tray", "gh200", "t4-4x"], ids=lambda name: name)
def test_nothing_in_a_machine_looks_odd_to_the_agent(inventories, name):
    assert inventories[name].warnings == ()
    assert inventories[name].unavailable == ()


def test_gb200_has_34_nodes_of_which_two_have_cpus(inventories):
    nodes = inventories["gb200-tray"].numa_nodes

    assert [node.id for node in nodes] == list(range(34))
    assert [node.id for node in nodes if node.cpus] == [0, 1]
    assert [node.id for node in nodes if node.memory_bytes] == [0, 1, 2, 10, 18, 26]


def test_gb200_gpus_keep_their_memory_in_nodes_of_their_own(inventories):
    gpus = inventories["gb200-tray"].gpus

    assert [gpu.memory_numa_node for gpu in gpus] == [2, 10, 18, 26]
    assert [gpu.numa_node for gpu in gpus] == [0, 0, 1, 1]
    assert [gpu.module_id for gpu in gpus] == [2, 1, 4, 3]
    assert [lists.render(gpu.memory_affinity) for gpu in gpus] == [
        "0,3-9,11-17",
        "0,3-9,11-17",
        "1,19-25,27-33",
        "1,19-25,27-33",
    ]


def test_gb200_gpus_share_a_node_with_nics_but_never_a_root(inventories):
    inventory = inventories["gb200-tray"]
    gpu_roots = {gpu.position.root for gpu in inventory.gpus}
    nic_roots = {nic.position.root for nic in inventory.nics}

    assert gpu_roots == {"pci0008:00", "pci0009:00", "pci0018:00", "pci0019:00"}
    assert nic_roots.isdisjoint(gpu_roots)
    near = [inventory.distance(inventory.gpus[0].uuid, nic.name) for nic in inventory.nics]
    assert near == [Distance.NODE] * 4 + [Distance.SYS] * 4


def test_gb200_links_lead_to_switches_of_the_rack(inventories):
    gpu = inventories["gb200-tray"].gpus[0]

    assert [(link.peer, link.peer_address) for link in gpu.links] == [(LinkPeer.SWITCH, None)] * 18
    assert gpu.c2c_links == 10
    assert gpu.fabric.state == "completed"
    assert gpu.fabric.cluster_uuid == "6e5b8d0c-7a3f-4a6e-9f53-0c2d4b8e1a97"


def test_dgx_b200_tells_nics_from_switch_management(inventories):
    management = [nic.name for nic in inventories["dgx-b200"].nics if nic.nvlink_management]

    assert management == ["mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3"]


def test_dgx_a100_has_eight_nodes_near_and_far(inventories):
    nodes = inventories["dgx-a100"].numa_nodes

    assert [node.socket for node in nodes] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert list(nodes[3].distances.values()) == [12, 12, 12, 10, 32, 32, 32, 32]


def test_dgx_a100_links_reach_all_six_switches_twice(inventories):
    peers = [link.peer_address for link in inventories["dgx-a100"].gpus[0].links]

    assert {peer: peers.count(peer) for peer in peers} == {
        f"0000:c{bus}:00.0": 2 for bus in range(4, 10)
    }


def test_dgx_1v_links_join_the_gpus_the_real_one_joins(inventories):
    peers = [link.peer_address for link in inventories["dgx-1v"].gpus[0].links]

    assert sorted(peers) == [f"0000:{bus}:00.0" for bus in ("07", "0a", "0b", "0b", "85", "85")]


def test_a_gpu_and_its_nic_in_a_dgx_h100_share_one_broadcom_chip(inventories):
    inventory = inventories["dgx-h100"]
    nics = {nic.name: nic for nic in inventory.nics}

    for gpu, nic in zip(inventory.gpus, (0, 3, 4, 5, 6, 9, 10, 11), strict=True):
        assert gpu.position.switch == nics[nic_name(f"NIC{nic}")].position.switch


def test_t4_pairs_meet_below_a_host_bridge(inventories):
    expected = {(0, 1): "PHB", (2, 3): "PHB", (0, 2): "NODE", (1, 3): "NODE"}
    inventory = inventories["t4-4x"]

    found = {pair: printed(inventory, *(f"GPU{index}" for index in pair)) for pair in expected}
    assert found == expected
    assert [(nic.name, nic.rdma) for nic in inventory.nics] == [
        ("ens1f0", False),
        ("ens1f1", False),
    ]
    assert [nic.ports[0].state for nic in inventory.nics] == ["ACTIVE", "DOWN"]
