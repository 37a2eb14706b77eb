"""What a node offers: GPUs, their health and their NUMA nodes."""

from functools import partial

import pytest
from builders import gpu, inventory, numa
from msgspec.structs import replace

from agent.config.flags import resolve
from agent.config.own import DEFAULT_IGNORED_XIDS
from agent.config.schema import Config, Flags
from agent.config.sharing import Resource, Resources
from agent.ledger.ledger import Allocation, Ledger
from agent.model.errors import HardwareError
from agent.model.inventory import UnavailableGpu
from agent.planning.catalog import build_catalog
from agent.planning.device_list import Offer, list_devices
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot
from agent.planning.strategy import GPU_RESOURCE, resource_name

TWO_NODES = (numa(0), numa(1))


def offered(found, health=Health(), flags=Flags()):  # noqa: B008 - immutable
    return build_catalog(found, health, flags=flags).resources[GPU_RESOURCE]


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


@pytest.mark.parametrize(
    ("argv", "healthy"),
    [
        ([], True),
        (["--device-list-strategy=volume-mounts"], True),
        (["--pass-device-specs"], False),
        (["--pass-device-specs", "--device-list-strategy=cdi-cri"], False),
        (["--device-list-strategy=cdi-annotations,envvar"], False),
    ],
)
def test_a_gpu_without_a_device_node_is_healthy_only_where_it_can_be_given(argv, healthy):
    flags = resolve(argv, {}).config.flags
    found = inventory(gpu(0, minor=None), gpu(1))

    devices = offered(found, flags=flags)

    assert [(d.id, d.healthy) for d in devices] == [("GPU-0", healthy), ("GPU-1", True)]
    assert (devices[0].reason is None) == healthy
    for each, device in zip(found.gpus, devices, strict=True):
        answer = partial(
            list_devices, [each], flags, Offer(control_nodes=()), request_id=lambda: "x"
        )
        if device.healthy:
            assert answer()
        else:
            with pytest.raises(HardwareError, match="GPU GPU-0 has no device node"):
                answer()


def test_a_mark_is_told_before_a_missing_node_and_survives_a_change_of_strategy():
    config = resolve(["--device-list-strategy=cdi-cri"], {}).config
    health = Health().marked("GPU-0", "Xid 79")
    found = inventory(gpu(0, minor=None))
    before = build_snapshot(config, found, health, previous=None)
    after = build_snapshot(Config(), found, before.health, previous=before)

    assert [s.catalog.find(GPU_RESOURCE, "GPU-0").reason for s in (before, after)] == ["Xid 79"] * 2


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        ("NVIDIA H100 80GB HBM3", True),
        ("*H100*", True),
        ("NVIDIA*HBM3", True),
        ("H100*", False),
        ("*h100*", False),
        ("NVIDIA H100 80GB", False),
        ("NVIDIA H100 80GB HBM.", False),
    ],
)
def test_a_pattern_is_matched_against_the_whole_product_name(pattern, fits):
    names = [Resource(pattern=pattern, name="fast")]

    assert (
        resource_name("NVIDIA H100 80GB HBM3", Resources(gpus=names)) == "nvidia.com/fast"
    ) is fits


def test_the_first_pattern_that_fits_names_a_gpu_and_none_leaves_it_out():
    found = inventory(gpu(0, name="NVIDIA H100"), gpu(1, name="NVIDIA L40S"), gpu(2, name="Odd"))
    names = [
        Resource(pattern="*H100", name="nvidia.com/h100"),
        Resource(pattern="NVIDIA*", name="other"),
        Resource(pattern="*T4", name="t4"),
    ]

    catalog = build_catalog(found, Health(), flags=Flags(), names=Resources(gpus=names))

    ids = {name: [device.id for device in devices] for name, devices in catalog.resources.items()}
    assert ids == {"nvidia.com/h100": ["GPU-0"], "nvidia.com/other": ["GPU-1"]}
    assert [each.gpu.uuid for each in catalog.left_out] == ["GPU-2"]


def test_a_gpu_held_under_its_old_name_is_withheld_under_the_new_one():
    held = Allocation(resource="nvidia.com/gpu", device="GPU-0", holder="team/trainer")
    ledger = Ledger(confirmed=(held,))
    names = [Resource(pattern="*", name="h100")]
    found = inventory(gpu(0), gpu(1))

    renamed = build_catalog(
        found, Health(), flags=Flags(), names=Resources(gpus=names), ledger=ledger
    )
    same = build_catalog(found, Health(), flags=Flags(), ledger=ledger)

    reasons = {device.id: device.reason for device in renamed.resources["nvidia.com/h100"]}
    assert reasons == {"GPU-0": "held as nvidia.com/gpu by team/trainer", "GPU-1": None}
    assert renamed.withheld == {"GPU-0"}
    assert all(device.healthy for device in same.resources[GPU_RESOURCE])
    assert same.withheld == frozenset()


def test_a_gpu_that_the_kubelet_has_forgotten_is_withheld_under_its_own_name():
    held = Allocation(resource=GPU_RESOURCE, device="GPU-0", holder="team/trainer")
    ledger = Ledger(confirmed=(held,), unseen=(held,), forgotten=(held,))

    catalog = build_catalog(inventory(gpu(0), gpu(1)), Health(), flags=Flags(), ledger=ledger)

    reasons = [device.reason for device in catalog.resources[GPU_RESOURCE]]
    assert reasons == ["held as nvidia.com/gpu by team/trainer", None]
    assert catalog.withheld == {"GPU-0"}


def test_a_missing_node_is_no_mark():
    config = resolve(["--device-list-strategy=cdi-cri"], {}).config
    found = inventory(gpu(0, minor=None))
    before = build_snapshot(config, found, Health(), previous=None)
    again = before.with_state(before.health, before.ledger)
    after = build_snapshot(Config(), found, again.health, previous=again)

    assert "no device node" in again.catalog.find(GPU_RESOURCE, "GPU-0").reason
    assert after.catalog.find(GPU_RESOURCE, "GPU-0").healthy


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
