"""What a node offers: GPUs, their health and their NUMA nodes."""

from dataclasses import replace

import pytest
from builders import gpu, inventory, numa

from agent.config.own import DEFAULT_IGNORED_XIDS
from agent.config.schema import Config
from agent.model.inventory import UnavailableGpu
from agent.planning.catalog import GPU_RESOURCE, build_catalog
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot

TWO_NODES = (numa(0), numa(1))


def offered(found, health=Health(), departed=()):  # noqa: B008 - immutable
    return build_catalog(found, health, departed).resources[GPU_RESOURCE]


def test_every_gpu_is_one_device_with_its_numa_node():
    devices = offered(inventory(gpu(0), gpu(2, numa_node=1), numa_nodes=TWO_NODES))

    assert [(d.id, d.healthy, d.numa_nodes) for d in devices] == [
        ("GPU-0", True, (0,)),
        ("GPU-2", True, (1,)),
    ]


def test_an_unknown_numa_node_is_not_reported():
    assert offered(inventory(gpu(0, numa_node=None)))[0].numa_nodes == ()


def test_a_numa_node_without_cpus_is_not_reported():
    found = inventory(gpu(0, numa_node=2), numa_nodes=(numa(0), numa(2, cpus=())))

    assert offered(found)[0].numa_nodes == ()


@pytest.mark.parametrize("name", ["DGX Display", "NVIDIA DGX Display"])
def test_display_gpus_are_not_offered(name):
    assert [d.id for d in offered(inventory(gpu(0, name=name), gpu(1)))] == ["GPU-1"]


def test_an_xid_marks_one_gpu_and_the_first_reason_stands():
    health = Health().after_xid("GPU-0", 79, DEFAULT_IGNORED_XIDS).after_xid("GPU-0", 48, ())

    devices = offered(inventory(gpu(0), gpu(1)), health)

    assert [(d.id, d.healthy) for d in devices] == [("GPU-0", False), ("GPU-1", True)]
    assert health.unhealthy["GPU-0"] == "Xid 79"


@pytest.mark.parametrize("xid", DEFAULT_IGNORED_XIDS)
def test_an_applications_fault_marks_nothing(xid):
    health = Health()

    assert health.after_xid("GPU-0", xid, DEFAULT_IGNORED_XIDS) is health


def test_a_departed_gpu_stays_listed_as_unhealthy_with_the_drivers_reason():
    before = build_snapshot(Config(), inventory(gpu(0), gpu(1)), Health(), previous=None)
    lost = UnavailableGpu(index=1, uuid=None, address=gpu(1).address, reason="GPU is lost")
    after = build_snapshot(
        Config(), inventory(gpu(0), unavailable=(lost,)), before.health, previous=before
    )

    assert [(d.id, d.healthy) for d in after.catalog.resources[GPU_RESOURCE]] == [
        ("GPU-0", True),
        ("GPU-1", False),
    ]
    assert after.health.unhealthy == {"GPU-1": "GPU is lost"}
    assert after.gpu("GPU-1") == gpu(1)


def test_a_gpu_that_returns_keeps_its_mark_until_somebody_clears_it():
    before = build_snapshot(Config(), inventory(gpu(0)), Health(), previous=None)
    without = build_snapshot(Config(), inventory(), before.health, previous=before)
    again = build_snapshot(Config(), inventory(gpu(0)), without.health, previous=without)

    assert again.departed == ()
    assert [d.healthy for d in again.catalog.resources[GPU_RESOURCE]] == [False]


def test_an_equal_look_keeps_the_placement_tables():
    before = build_snapshot(Config(), inventory(gpu(0), gpu(1)), Health(), previous=None)
    after = build_snapshot(Config(), inventory(gpu(0), gpu(1)), before.health, previous=before)

    assert after.placement is before.placement
    assert after.generation == before.generation + 1


def test_a_changed_link_builds_them_anew():
    found = inventory(gpu(0), gpu(1))
    before = build_snapshot(Config(), found, Health(), previous=None)
    moved = replace(found, gpus=(gpu(0, numa_node=1), gpu(1)))

    assert build_snapshot(Config(), moved, Health(), previous=before).placement is not (
        before.placement
    )
