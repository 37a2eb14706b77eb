"""Every captured machine, imported, shows the agent exactly what was captured."""

import pytest

from agent.model.inventory import nvlinks_between
from agent.simulation import lists
from tests.machines import matrix


def printed(inventory, a, b):
    """Return the word nvidia-smi would print for two devices."""
    gpus = {f"GPU{gpu.index}": gpu for gpu in inventory.gpus}
    if a in gpus and b in gpus and (links := nvlinks_between(gpus[a], gpus[b])):
        return f"NV{links}"
    keys = (gpus[name].uuid if name in gpus else nic_name(name) for name in (a, b))
    return str(inventory.distance(*keys))


def nic_name(column):
    return f"mlx5_{column.removeprefix('NIC')}" if column.startswith("NIC") else column


@pytest.mark.parametrize("name", matrix.CAPTURES)
def test_the_classes_are_those_captured(inventories, name):
    expected = matrix.cells(name)

    assert expected
    assert {pair: printed(inventories[name], *pair) for pair in expected} == expected


@pytest.mark.parametrize("name", matrix.CAPTURES)
def test_the_affinities_are_those_captured(inventories, name):
    for gpu in inventories[name].gpus:
        cpus, nodes, memory_node = matrix.affinities(name)[f"GPU{gpu.index}"]

        assert lists.render(gpu.cpu_affinity) == cpus
        assert nodes is None or lists.render(gpu.memory_affinity) == nodes
        expected = None if memory_node in (None, "N/A") else int(memory_node)
        assert gpu.memory_numa_node == expected


@pytest.mark.parametrize("name", matrix.CAPTURES)
def test_nothing_in_the_folder_looks_odd_to_the_agent(inventories, name):
    assert inventories[name].warnings == ()
    assert inventories[name].unavailable == ()


def test_what_contradicts_sysfs_is_marked_as_overridden(inventories):
    overridden = {
        frozenset((pair.a, pair.b))
        for pair in inventories["rtx4090-8gpu-all-sys-2nic"].pairs
        if pair.overridden
    }
    gpus = {gpu.index: gpu.uuid for gpu in inventories["rtx4090-8gpu-all-sys-2nic"].gpus}

    # NICs are SYS to every GPU of their own node but GPU6, whose host bridge they share.
    assert overridden == {
        frozenset((gpus[index], nic)) for index in (4, 5, 7) for nic in ("mlx5_0", "mlx5_1")
    }
