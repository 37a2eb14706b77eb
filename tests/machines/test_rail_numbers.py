"""The rails of the reference machines."""

import pytest

from agent.planning.rails import rail_numbers


def rails(inventory):
    """The rail of every GPU by its index, and of every NIC that has one by its name."""
    numbers = rail_numbers(inventory)
    gpus = {gpu.index: numbers.gpus.get(gpu.uuid) for gpu in inventory.gpus}
    nics = {nic.name: numbers.of(nic) for nic in inventory.nics}
    return gpus, {name: rail for name, rail in nics.items() if rail is not None}


@pytest.mark.parametrize("machine", ["dgx-h100", "dgx-h100-12nic"])
def test_rail_i_is_that_of_gpu_i_and_storage_is_on_none(inventories, machine):
    compute = (0, 3, 4, 5, 6, 9, 10, 11)

    assert rails(inventories[machine]) == (
        {i: i for i in range(8)},
        {f"mlx5_{name}": i for i, name in enumerate(compute)},
    )


def test_two_nics_of_two_gpus_are_dealt_out(inventories):
    gpus, nics = rails(inventories["dgx-a100"])

    assert sorted(gpus.values()) == list(range(8))
    assert sorted(nics.values()) == list(range(8))


def test_gpus_that_have_one_nic_share_its_rail(inventories):
    gpus, nics = rails(inventories["hgx-a100-2nic-asym"])

    assert gpus == {0: 0, 1: 0, 4: 1, 5: 1, 2: None, 3: None, 6: None, 7: None}
    assert sorted(nics.values()) == [0, 1]


def test_a_coherent_tray_deals_out_the_nics_of_each_numa_node(inventories):
    gpus, nics = rails(inventories["gb200-tray"])

    assert gpus == {i: i for i in range(4)}
    assert {rail: list(nics.values()).count(rail) for rail in nics.values()} == dict.fromkeys(
        range(4), len(nics) // 4
    )


def test_a_flat_tree_has_no_rails(inventories):
    assert rails(inventories["l40s-8gpu-2socket-vm"]) == (dict.fromkeys(range(8)), {})
