"""Devices as DRA offers them, claims read, prepared and given back."""

import asyncio

import msgspec
import pytest
from builders import gpu, inventory, numa, pairs_by_node
from claim_bench import GPU_DRIVER, POOL, GpuClaimBench, claim_object, result

from agent.config.gpu_names import GpuNames
from agent.config.own import Dra, Plumbline, ServingMode
from agent.config.schema import Config
from agent.config.sharing import Sharing, TimeSlicedResource, TimeSlicing
from agent.daemon.dividing import STARTING, held_by
from agent.ledger.ledger import Account, Allocation, Ledger
from agent.model.errors import ClaimError
from agent.model.inventory import Fabric, PciAddress, PciPosition
from agent.planning.claims import read_claim
from agent.planning.dra_devices import Version, WholeGpus, gpu_device
from agent.planning.dra_order import listed_order
from agent.planning.health import Health
from agent.planning.pool import Claimed, GpuPool
from agent.planning.snapshot import build_snapshot
from agent.planning.strategy import GPU_RESOURCE
from agent.serving import claims
from deviceplugin.dra.values import ClaimRef, Prepared, Refused, Released


def node(count=8, **facts):
    """GPUs of which the first half is on NUMA node 0 and the others on node 1."""
    gpus = [gpu(i, numa_node=2 * i // count) for i in range(count)]
    return inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0), numa(1)), **facts)


def snapshot(found=None, **health):
    config = Config(plumbline=Plumbline(mode=ServingMode.DRA))
    return build_snapshot(config, found or node(), Health(unhealthy=health), previous=None)


def test_a_gpu_has_the_attributes_that_claims_select_by():
    position = PciPosition(
        address=PciAddress("0000:1b:00.0"),
        root="pci0000:15",
        switch=PciAddress("0000:16:00.0"),
        path=(),
        numa_node=0,
    )
    fabric = Fabric(state="completed", cluster_uuid="c", clique_id=7, health_mask=None)
    found = gpu(
        0, compute_capability="9.0", module_id=3, position=position, fabric=fabric, brand="x" * 65
    )

    device = gpu_device(found, node(), nvlink_group=2, rail=5)

    assert device.name == "gpu-0"
    assert device.capacity == {"memory": 2**30}
    expected = {
        "type": "gpu",
        "uuid": "GPU-0",
        "cudaComputeCapability": Version("9.0.0"),
        "moduleID": 3,
        "pcieSwitch": "0000:16:00.0",
        "nvlinkClique": "c.7",
        "nvlinkGroup": 2,
        "rail": 5,
        "numaNode": 0,
        "resource.kubernetes.io/pcieRoot": "pci0000:15",
        "resource.kubernetes.io/pciBusID": "0000:01:00.0",
        "resource.kubernetes.io/numaNode": 0,
    }
    assert expected.items() <= device.attributes.items()
    # 65 bytes would have the whole slice refused.
    assert "brand" not in device.attributes


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        ("580.65.06", Version("580.65.6")),
        ("535.104", Version("535.104.0")),
        ("1.2.3.4", None),
        ("beta", None),
    ],
)
def test_versions_are_what_the_api_takes_or_left_out(driver, expected):
    device = gpu_device(gpu(0), node(driver_version=driver))

    assert device.attributes.get("driverVersion") == expected


def test_the_first_gpus_listed_are_the_best_set_and_those_that_are_taken_the_last():
    seen = snapshot()
    uuids = [each.uuid for each in seen.inventory.gpus]

    idle = listed_order(seen.placement, uuids, uuids)
    assert sorted(idle) == sorted(uuids)
    halves = ({"GPU-0", "GPU-1", "GPU-2", "GPU-3"}, {"GPU-4", "GPU-5", "GPU-6", "GPU-7"})
    assert set(idle[:4]) in halves

    # What is left of a broken half is used up before the other is broken.
    order = listed_order(seen.placement, uuids, [uuid for uuid in uuids if uuid != "GPU-1"])
    assert set(order[:3]) == {"GPU-0", "GPU-2", "GPU-3"}
    assert order[-1] == "GPU-1"


def test_what_is_held_through_the_device_plugin_is_not_offered_and_what_is_claimed_stays():
    held = Ledger(
        confirmed=tuple(
            Allocation(resource="nvidia.com/gpu", device=f"GPU-{i}", holder="default/p")
            for i in (2, 3)
        )
    )
    pool = GpuPool(
        snapshot=snapshot(**{"GPU-5": "Xid 79"}),
        ledger=held,
        claimed=Claimed(
            uuids={"GPU-3": "default/c"}, devices={"gpu-3": WholeGpus(gpus=("GPU-3",))}
        ),
    )
    devices = pool.offering.devices

    names = {each.name for each in devices}
    assert names == {f"gpu-{i}" for i in (0, 1, 3, 4, 5, 6, 7)}
    (ill,) = (each for each in devices if each.taints)
    assert (ill.name, dict(ill.taints)) == ("gpu-5", {"gpu.nvidia.com/unhealthy": "true"})


def test_what_a_claim_has_is_held_by_it_whoever_asks():
    ledger = (
        Ledger().with_claims({"GPU-2": "default/c"}).with_grant("nvidia.com/gpu", ["GPU-3"], at_s=0)
    )

    assert held_by(ledger) == {"GPU-2": ("claim default/c",), "GPU-3": (STARTING,)}
    assert ledger.held == {"GPU-2", "GPU-3"}
    assert not ledger.pods_with("GPU-2")
    assert not ledger.with_claims({}).allocations("GPU-2")
    account = Account(held=(), pods=frozenset(), kubelet="k", settled=True, asked_s=99)
    assert ledger.reconciled(account).held == {"GPU-2"}


@pytest.mark.parametrize("mode", ServingMode)
def test_the_device_plugin_does_not_offer_what_a_claim_has(mode):
    offers = {ServingMode.DEVICE_PLUGIN: range(8), ServingMode.DRA: (), ServingMode.SPLIT: range(4)}
    through_dra = Dra(gpus=GpuNames(index=(4, 5, 6, 7)))
    turns = TimeSlicing(resources=(TimeSlicedResource(name="gpu", replicas=2),))
    for sharing in (Sharing(), Sharing(time_slicing=turns)):
        config = Config(plumbline=Plumbline(mode=mode, dra=through_dra), sharing=sharing)
        seen = build_snapshot(config, node(), Health(), previous=None)
        found = seen.with_state(Health(), Ledger().with_claims({"GPU-2": "default/c"})).catalog

        assert set(found.resources) == ({GPU_RESOURCE} if offers[mode] else set())
        listed = {each.gpu for each in found.resources.get(GPU_RESOURCE, ())}
        assert listed == {f"GPU-{i}" for i in offers[mode]}
        held = [each for each in found.resources.get(GPU_RESOURCE, ()) if each.gpu == "GPU-2"]
        assert not any(each.healthy for each in held)


def test_a_claim_is_read_as_far_as_the_driver_goes():
    document = claim_object(
        result("gpu-1", "a/first"), {**result("eth0"), "driver": "dra.net"}, result("gpu-2")
    )

    claim = read_claim(document, uid="u1", driver=GPU_DRIVER, pool=POOL)

    assert [(each.request, each.subrequest, each.device) for each in claim.results] == [
        ("a", "first", "gpu-1"),
        ("r", None, "gpu-2"),
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (claim_object(result("gpu-1"), uid="u2"), "deleted and created again"),
        (claim_object(), "is not allocated"),
        (claim_object({**result("gpu-1"), "pool": "node-2"}), "is not this node's"),
    ],
)
def test_a_claim_that_is_another_one_or_elsewhere_is_refused(document, said):
    with pytest.raises(ClaimError, match=said):
        read_claim(document, uid="u1", driver=GPU_DRIVER, pool=POOL)


async def test_a_prepared_claim_has_a_specification_and_the_same_answer_ever_after(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    ref = bench.ref("u1", result("gpu-1", "a"), result("gpu-2", "b"))

    first = await bench.prepare(ref)

    assert isinstance(first, Prepared)
    assert [(each.requests, each.device, each.cdi_devices) for each in first.devices] == [
        (("a",), "gpu-1", ("k8s.gpu.nvidia.com/claim=u1-gpu-1",)),
        (("b",), "gpu-2", ("k8s.gpu.nvidia.com/claim=u1-gpu-2",)),
    ]
    (spec,) = bench.specs.values()
    nodes = {
        each["name"]: [node["path"] for node in each["containerEdits"]["deviceNodes"]]
        for each in spec["devices"]
    }
    assert nodes == {"u1-gpu-1": ["/dev/nvidia1"], "u1-gpu-2": ["/dev/nvidia2"]}

    assert await bench.prepare(ref) == first
    bench.start()
    await bench.claims.load()
    assert await bench.prepare(ref) == first
    assert bench.fetched == ["u1"]


async def test_every_change_of_what_claims_have_is_told_after_a_restart_too(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    ref = bench.ref("u1", result("gpu-1"))
    await bench.prepare(ref)
    await bench.prepare(ref)
    assert bench.told == [{"gpu-1"}]
    bench.start()
    bench.told.clear()

    await bench.claims.load()
    await bench.unprepare("u1")

    assert bench.told == [{"gpu-1"}, set()]


async def test_what_claims_have_beside_others_only_is_told_apart(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    await bench.prepare(bench.ref("u1", result("gpu-1")))
    for uid, device in (("u2", "gpu-1"), ("u3", "gpu-2")):
        await bench.prepared(bench.ref(uid, result(device, adminAccess=True)))

    assert bench.claims.admin_only == {"gpu-2"}
    assert bench.claims.addresses.keys() == {"GPU-1", "GPU-2"}


async def test_a_specification_that_a_reboot_took_away_is_written_again(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    ref = bench.ref("u1", result("gpu-1"))
    await bench.prepare(ref)
    before = bench.specs
    for each in (tmp_path / "cdi").iterdir():
        each.unlink()

    await bench.prepare(ref)

    assert bench.specs == before


async def test_what_is_given_back_leaves_nothing_and_can_be_given_back_again(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    ref = bench.ref("u1", result("gpu-1"))
    await bench.prepare(ref)

    for _ in range(2):
        assert await bench.claims.unprepare([ref]) == {"u1": Released()}
        assert bench.specs == {}
        assert list((tmp_path / "claims").iterdir()) == []
        assert bench.claims.held == {}


async def refused(bench, *refs):
    found = await bench.answers(*refs)
    return {uid: each.reason for uid, each in found.items() if isinstance(each, Refused)}


async def test_each_claim_fails_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "TAKEN_S", 0)
    held = Allocation(resource="nvidia.com/gpu", device="GPU-3", holder="default/p")
    bench = GpuClaimBench(tmp_path, snapshot(**{"GPU-4": "Xid 79"}), Ledger(confirmed=(held,)))
    good = bench.ref("good", result("gpu-1"))
    unknown = ClaimRef(namespace="default", name="gone", uid="gone")
    bad = {
        "nobody": bench.ref("nobody", result("gpu-99")),
        "twice": bench.ref("twice", result("gpu-1")),
        "held": bench.ref("held", result("gpu-3")),
        "ill": bench.ref("ill", result("gpu-4")),
        "gone": unknown,
    }

    await bench.prepare(good)
    reasons = await refused(bench, good, *bad.values())

    assert set(reasons) == set(bad)
    assert "no device gpu-99; it has gpu-0, gpu-1" in reasons["nobody"]
    assert reasons["twice"] == "gpu-1 is claimed by default/c-good"
    assert "by default/p, through the device plugin" in reasons["held"]
    assert reasons["ill"] == "gpu-4: it is unhealthy: Xid 79"
    assert "404" in reasons["gone"]
    assert len(bench.specs) == 1


@pytest.mark.parametrize(
    ("toleration", "given"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu.nvidia.com/xid", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "gpu.nvidia.com/xid", "value": "79"}, True),
        ({"key": "gpu.nvidia.com/xid", "value": "48"}, False),
        ({"key": "gpu.nvidia.com/gpu-lost", "operator": "Exists"}, False),
        ({"key": "gpu.nvidia.com/xid", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
async def test_a_claim_that_tolerates_what_is_wrong_gets_the_gpu(tmp_path, toleration, given):
    bench = GpuClaimBench(tmp_path, snapshot())
    ill = Health().after_xid("GPU-4", 79, ())
    bench.seen = bench.seen.with_state(ill, Ledger())

    found = await bench.prepare(bench.ref("u1", result("gpu-4", tolerations=[toleration])))

    assert isinstance(found, Prepared if given else Refused)


async def test_an_administrator_gets_what_others_have(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    await bench.prepare(bench.ref("u1", result("gpu-1")))

    found = await bench.prepare(bench.ref("u2", result("gpu-1", adminAccess=True)))

    assert isinstance(found, Prepared)
    assert bench.claims.held == {"GPU-1": "default/c-u1"}


async def test_of_two_claims_for_one_gpu_at_once_one_gets_it(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "TAKEN_S", 0)
    bench = GpuClaimBench(tmp_path, snapshot())
    refs = [bench.ref(uid, result("gpu-1")) for uid in ("u1", "u2")]

    found = await bench.answers(*refs)

    assert sorted(type(each).__name__ for each in found.values()) == ["Prepared", "Refused"]


async def test_who_has_what_a_claim_is_to_have_is_waited_for(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    first, second = (bench.ref(uid, result("gpu-1")) for uid in ("u1", "u2"))
    await bench.prepare(first)

    waiting = asyncio.create_task(bench.prepare(second))
    while "u2" not in bench.fetched:  # noqa: ASYNC110 - a list tells nobody
        await asyncio.sleep(0)
    assert not waiting.done()
    await bench.claims.unprepare([first])

    assert isinstance(await waiting, Prepared)
    assert bench.claims.held == {"GPU-1": "default/c-u2"}


async def test_a_call_that_the_kubelet_gave_up_goes_on_and_the_next_one_joins_it(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    ref = bench.ref("u1", result("gpu-1"))
    bench.release = asyncio.Event()

    given_up = asyncio.create_task(bench.prepare(ref))
    await asyncio.sleep(0)
    given_up.cancel()
    again = asyncio.create_task(bench.prepare(ref))
    await asyncio.sleep(0)
    bench.release.set()

    assert isinstance(await again, Prepared)
    assert bench.fetched == ["u1"]


async def test_what_was_only_begun_is_begun_anew(tmp_path):
    bench = GpuClaimBench(tmp_path, snapshot())
    ref = bench.ref("u1", result("gpu-1"))
    await bench.prepare(ref)
    (path,) = (tmp_path / "claims").iterdir()
    stored, _ = bench.store.read()
    bench.store.write(msgspec.structs.replace(stored[0], state="started"))

    bench.start()
    await bench.claims.load()

    assert not path.exists()
    assert bench.specs == {}
    assert isinstance(await bench.prepare(ref), Prepared)
