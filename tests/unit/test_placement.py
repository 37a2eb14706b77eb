"""Placement over an Inventory: the best set, its reason, deterministic, never an error."""

import random
from itertools import combinations

import pytest
from builders import address, gpu, inventory, nic

from agent._native import PlacementEngine
from agent.model.inventory import (
    Distance,
    Link,
    LinkPeer,
    PairDistance,
    PciAddress,
    PciPosition,
    nvlinks_between,
)
from agent.planning.placement import PlacementTable, Request


def direct(index, peer):
    return Link(index=index, active=True, version=3, peer=LinkPeer.GPU, peer_address=address(peer))


def node(gpus, near=()):
    """A node whose GPUs are NODE within a NUMA node, SYS across, and PIX where ``near``."""
    pairs = [
        PairDistance(a=a.uuid, b=b.uuid, distance=_distance(a, b, near))
        for a, b in combinations(gpus, 2)
    ]
    return inventory(*gpus, pairs=tuple(pairs))


def _distance(a, b, near):
    if {a.index, b.index} in near:
        return Distance.PIX
    return Distance.NODE if a.numa_node == b.numa_node else Distance.SYS


def choose(machine, size, *, available=None, must=()):
    table = PlacementTable(machine, machine.gpus)
    offered = available or [g.uuid for g in machine.gpus]
    request = Request(available=tuple(offered), must_include=tuple(must), size=size)
    return table.choose(request)


def bridges():
    """Eight A100s with NVLink bridges on (0,2) (1,3) (4,5) (6,7), four to a socket."""
    peers = {0: 2, 2: 0, 1: 3, 3: 1, 4: 5, 5: 4, 6: 7, 7: 6}
    return node(
        [
            gpu(i, numa_node=i // 4, links=tuple(direct(n, peers[i]) for n in range(12)))
            for i in range(8)
        ]
    )


@pytest.mark.parametrize("size", range(1, 9))
def test_one_numa_node_comes_first(size):
    machine = node([gpu(i, numa_node=i % 2) for i in range(8)])

    placement = choose(machine, size)

    assert len(placement.devices) == size
    assert len(placement.explanation.numa_nodes) == (1 if size <= 4 else 2)


def test_a_pair_is_an_nvlink_pair():
    assert choose(bridges(), 2).devices in {
        ("GPU-0", "GPU-2"),
        ("GPU-1", "GPU-3"),
        ("GPU-4", "GPU-5"),
        ("GPU-6", "GPU-7"),
    }


def test_where_a_vm_flattens_pcie_nvlink_and_numa_nodes_decide_and_no_rail_is_made_up():
    # Everything is PHB, also across NUMA nodes and to the NIC.
    gpus = [
        gpu(i, numa_node=i % 2, links=(direct(0, i ^ 2),) if i in (1, 3) else ()) for i in range(5)
    ]
    names = [*(g.uuid for g in gpus), "mlx5_0"]
    flat = tuple(PairDistance(a=a, b=b, distance=Distance.PHB) for a, b in combinations(names, 2))
    machine = inventory(*gpus, nics=(nic("mlx5_0"),), pairs=flat)

    assert choose(machine, 2).devices == ("GPU-1", "GPU-3")
    assert choose(machine, 3).devices == ("GPU-0", "GPU-2", "GPU-4")
    assert choose(machine, 5).explanation.rails == ()


def test_a_single_gpu_breaks_no_pair_when_one_is_broken_already():
    left = [f"GPU-{i}" for i in (1, 2, 3, 4, 5, 6, 7)]

    assert choose(bridges(), 1, available=left).devices == ("GPU-2",)


def test_what_must_be_included_is():
    placement = choose(bridges(), 2, must=["GPU-3"])

    assert placement.devices == ("GPU-1", "GPU-3")


def test_a_switch_pair_beats_a_neighbour_without_one():
    machine = node([gpu(i, numa_node=0) for i in range(4)], near=[{1, 3}])

    assert choose(machine, 2).devices == ("GPU-1", "GPU-3")


def test_the_order_of_ids_does_not_matter():
    machine = bridges()
    ids = [g.uuid for g in machine.gpus]
    answers = set()
    for seed in range(20):
        random.Random(seed).shuffle(ids)
        answers.add(choose(machine, 3, available=ids).devices)

    assert len(answers) == 1


@pytest.mark.parametrize(
    ("size", "available", "must", "expected"),
    [
        (3, ["GPU-0"], [], {"GPU-0"}),
        (2, ["GPU-0", "GPU-unknown"], [], {"GPU-0", "GPU-unknown"}),
        (1, ["GPU-0", "GPU-unknown"], [], {"GPU-0"}),
        (2, ["GPU-0", "GPU-1", "GPU-9"], ["GPU-unknown"], {"GPU-0", "GPU-unknown"}),
        (1, ["GPU-0"], ["GPU-1", "GPU-2"], {"GPU-1"}),
        (0, ["GPU-0"], [], set()),
        (2, ["x", "y", "z"], [], {"x", "y"}),
    ],
)
def test_an_impossible_request_gets_the_nearest_answer(size, available, must, expected):
    assert set(choose(bridges(), size, available=available, must=must).devices) == expected


def test_sixteen_gpus_are_searched_to_the_end():
    machine = node([gpu(i, numa_node=i // 8) for i in range(16)], near=[{9, 12}])

    placement = choose(machine, 8)

    assert len(placement.devices) == 8
    assert len(placement.explanation.numa_nodes) == 1
    assert placement.explanation.exact


def test_a_lost_link_end_counts_for_neither():
    a = gpu(0, numa_node=0, links=(direct(0, 1), direct(1, 1)))
    b = gpu(1, numa_node=0, links=(direct(0, 0),))

    assert nvlinks_between(a, b) == 1


def beside_lanes(index, generation, width, **facts):
    position = PciPosition(
        address=address(index),
        root="pci0000:00",
        switch=None,
        path=(address(index),),
        numa_node=0,
        path_generation=generation,
        path_width=width,
    )
    return gpu(index, position=position, **facts)


def test_a_gpu_of_unknown_path_is_not_taken_for_a_fast_one():
    # The known ones are on PCIe 3, which is slower than what the unknown ones might be on.
    gpus = [*(beside_lanes(i, 3, 16) for i in range(2)), *(gpu(i) for i in (2, 3))]
    known = PairDistance(a="GPU-0", b="GPU-1", distance=Distance.NODE)
    machine = inventory(*gpus, pairs=(known,))

    placement = choose(machine, 2)

    assert placement.devices == ("GPU-0", "GPU-1")
    assert placement.explanation.min_pair_gbps == 6  # NODE, at half the rate of PCIe 4
    assert choose(machine, 2, available=["GPU-2", "GPU-3"]).explanation.min_pair_gbps == 4


def test_half_the_lanes_of_the_next_generation_are_no_less():
    machine = inventory(beside_lanes(0, 4, 8), beside_lanes(1, 3, 16), beside_lanes(2, 3, 8))

    assert PlacementTable(machine, machine.gpus).model.penalty == (0, 0, 5)


@pytest.mark.parametrize("count", [20, 70, 144])
def test_more_gpus_than_tables_hold_are_placed_too(count):
    machine = node([gpu(i, numa_node=i // 10) for i in range(count)], near=[{count - 4, count - 2}])

    placement = choose(machine, 4)

    assert set(choose(machine, 2).devices) == {f"GPU-{count - 4}", f"GPU-{count - 2}"}
    assert len(set(placement.devices)) == 4
    assert len(placement.explanation.numa_nodes) == 1
    assert choose(machine, count).devices != ()


def test_more_gpus_than_the_engine_takes_are_given_in_stable_order():
    most = PlacementEngine.most_devices
    gpus = [
        gpu(i, uuid=f"GPU-{i:03}", address=PciAddress(f"{i // 100:04x}:{i % 100:02x}:00.0"))
        for i in range(most + 30)
    ]
    machine = inventory(*gpus)
    ids = [g.uuid for g in gpus]
    table = PlacementTable(machine, random.Random(1).sample(gpus, len(gpus)))

    def devices(size, available):
        return table.choose(Request(available=tuple(available), size=size)).devices

    assert most >= 256
    assert table.model.uuids == tuple(ids[:most])
    assert devices(len(ids), reversed(ids)) == tuple(ids)
    assert devices(most + 7, reversed(ids)) == tuple(ids[: most + 7])
    assert devices(5, ids) == tuple(ids[:5])
    assert devices(3, [*ids[most:], ids[4]]) == (ids[4], ids[most], ids[most + 1])


def test_more_nics_than_the_engine_takes_leave_the_first_ones_as_rails():
    most = PlacementEngine.most_devices
    gpus = [gpu(0), gpu(1)]
    nics = tuple(nic(f"mlx5_{i:03}") for i in range(most + 4))
    near = tuple(PairDistance(a="GPU-0", b=n.name, distance=Distance.PIX) for n in nics)
    table = PlacementTable(inventory(*gpus, nics=nics, pairs=near), gpus)

    assert table.rails_of("GPU-0") == [n.name for n in nics[:most]]
    request = Request(available=("GPU-0", "GPU-1"), size=1, rails=1, rails_taken=("mlx5_000",))
    assert table.choose(request).devices == ("GPU-0",)


def test_a_node_without_gpus_has_nothing_to_choose():
    assert choose(node([]), 2, available=["GPU-x"]).devices == ("GPU-x",)
