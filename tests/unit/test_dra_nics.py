"""NICs as DRA devices, and claims for them beside those for GPUs."""

import pytest
from builders import gpu, inventory, nic, numa
from claim_bench import POOL, ClaimBench, result
from msgspec.structs import replace

from agent.config.own import Nics, Plumbline, ServingMode
from agent.config.schema import Config
from agent.model.inventory import (
    Distance,
    FeatureNodes,
    NicPort,
    PairDistance,
    PciAddress,
    PciPosition,
)
from agent.planning.dra_nics import NIC_DRIVER, NicPool
from agent.planning.health import Health
from agent.planning.nics import allot
from agent.planning.slices import Pool, plan_slices, slice_changes
from agent.planning.snapshot import build_snapshot
from agent.serving import claims
from agent.serving.nic_grants import NicGrants
from agent.serving.nic_offers import NicOffers
from deviceplugin.dra.values import Prepared, Refused, Released

UP = NicPort(number=1, state="ACTIVE", rate_gbps=400.0, link_layer="InfiniBand")
DOWN = replace(UP, state="DOWN")
FIRST, SECOND = "0000:18:00.0", "0000:2a:00.0"


def function(number, address, **facts):
    """mlx5_<number> with a device node."""
    own = {"address": PciAddress(address), "verbs_node": f"/dev/infiniband/uverbs{number}"}
    return nic(f"mlx5_{number}", **{**own, **facts})


def virtual(number, address, of=FIRST):
    return function(number, address, physical_function=PciAddress(of))


def node(*nics, **facts):
    """GPU 0 beside mlx5_0."""
    near = [PairDistance(a="GPU-0", b="mlx5_0", distance=Distance.PIX)]
    rdma = ("/dev/infiniband/uverbs0", "/dev/infiniband/rdma_cm")
    return inventory(
        gpu(0),
        nics=nics or (function(0, FIRST), function(1, SECOND)),
        pairs=tuple(near),
        numa_nodes=(numa(0),),
        feature_nodes=FeatureNodes(mofed=rdma),
        **facts,
    )


def snapshot(found=None, previous=None):
    config = Config(plumbline=Plumbline(mode=ServingMode.DRA))
    return build_snapshot(config, found or node(), Health(), previous=previous)


def listed(seen, **facts):
    """Every device by name, with its taints."""
    facts = {name: frozenset(value) for name, value in facts.items()}
    devices = NicPool(snapshot=seen, **facts).offering.devices
    return {each.name: set(each.taints) for each in devices}


def test_a_nic_has_the_attributes_that_claims_select_by():
    position = PciPosition(
        address=PciAddress(FIRST),
        root="pci0000:15",
        switch=PciAddress("0000:16:00.0"),
        path=(),
        numa_node=0,
    )
    found = node(
        function(0, FIRST, interfaces=("ibp24s0", "ib1"), position=position),
        virtual(1, "0000:18:00.1"),
    )

    first, second = NicPool(snapshot=snapshot(found)).offering.devices

    assert first.name == "nic-0000-18-00-0"
    assert first.attributes == {
        "type": "nic",
        "rdmaDevice": "mlx5_0",
        "ifName": "ibp24s0",
        "linkLayer": "InfiniBand",
        "rateGbps": 400,
        "state": "ACTIVE",
        "socket": 0,
        "pcieSwitch": "0000:16:00.0",
        "rail": 0,
        "isVF": False,
        "vfs": 1,
        "numaNode": 0,
        "resource.kubernetes.io/pcieRoot": "pci0000:15",
        "resource.kubernetes.io/pciBusID": FIRST,
        "resource.kubernetes.io/numaNode": 0,
    }
    # What is not known is left out; a virtual function is on the rail of its card.
    own = {"isVF": True, "parentBusID": FIRST, "rail": 0, "vfs": 0}
    assert own.items() <= second.attributes.items()
    assert second.attributes.keys().isdisjoint(
        {"ifName", "pcieSwitch", "resource.kubernetes.io/pcieRoot"}
    )


def test_text_that_would_have_the_slice_refused_is_left_out():
    (device,) = NicPool(
        snapshot=snapshot(node(function(0, FIRST, interfaces=("x" * 65,))))
    ).offering.devices

    assert "ifName" not in device.attributes


def test_only_functions_that_carry_rdma_and_can_be_opened_are_offered():
    found = node(
        function(0, FIRST),
        function(1, SECOND, verbs_node=None),
        function(2, "0000:30:00.0", nvlink_management=True),
        function(3, "0000:31:00.0", rdma=False),
        function(4, None),
    )

    assert listed(snapshot(found)) == {"nic-0000-18-00-0": set()}


def test_the_first_listed_are_on_rails_and_on_wires_of_their_own():
    found = node(
        virtual(5, "0000:18:00.2"),
        virtual(4, "0000:18:00.1"),
        function(2, "0000:17:00.0"),
        virtual(6, "0000:17:00.1", of="0000:17:00.0"),
        function(0, FIRST),
    )

    assert list(listed(snapshot(found))) == [
        "nic-0000-18-00-0",
        "nic-0000-17-00-0",
        "nic-0000-18-00-1",
        "nic-0000-17-00-1",
        "nic-0000-18-00-2",
    ]


def test_a_nic_whose_port_is_down_keeps_its_place_until_it_is_up_again():
    down = snapshot(node(function(0, FIRST, ports=(DOWN,)), function(1, SECOND)))

    assert listed(down) == {
        "nic-0000-18-00-0": {"nic.plumbline.dev/port-down"},
        "nic-0000-2a-00-0": set(),
    }
    assert NicPool(snapshot=down).health == {
        "nic-0000-18-00-0": "none of its ports is up",
        "nic-0000-2a-00-0": None,
    }
    up = snapshot(previous=down)
    assert listed(up) == {"nic-0000-18-00-0": set(), "nic-0000-2a-00-0": set()}
    # One port of two is enough, and is the one that is told of.
    both = (DOWN, replace(UP, number=2, rate_gbps=100.0))
    (half,) = NicPool(snapshot=snapshot(node(function(0, FIRST, ports=both)))).offering.devices
    assert (half.taints, half.attributes["rateGbps"]) == ({}, 100)


def test_a_nic_that_a_claim_has_stays_whatever_becomes_of_it():
    before = snapshot()
    gone = snapshot(node(function(1, SECOND, verbs_node=None)), previous=before)

    assert listed(gone) == {}
    kept = NicPool(snapshot=gone, claimed=frozenset({FIRST, SECOND})).offering.devices
    assert [(each.name, set(each.taints)) for each in kept] == [
        ("nic-0000-2a-00-0", set()),
        ("nic-0000-18-00-0", {"nic.plumbline.dev/absent"}),
    ]
    # It is what it was, as long as the agent knows.
    assert (kept[1].attributes["rdmaDevice"], kept[1].attributes["rail"]) == ("mlx5_0", 0)
    (found,) = NicPool(
        snapshot=snapshot(node(function(3, "0000:99:00.0", verbs_node=None))),
        claimed=frozenset({FIRST}),
    ).offering.devices
    assert (found.name, found.attributes, set(found.taints)) == (
        "nic-0000-18-00-0",
        {"type": "nic", "resource.kubernetes.io/pciBusID": FIRST},
        {"nic.plumbline.dev/absent"},
    )


def test_what_a_container_was_given_with_its_gpus_is_not_offered():
    assert listed(snapshot(), given={"mlx5_0"}) == {"nic-0000-2a-00-0": set()}
    assert len(listed(snapshot(), given={"mlx5_0"}, claimed={FIRST})) == 2


def test_slices_of_nics_are_written_once():
    pool = Pool(driver=NIC_DRIVER, node=POOL, node_uid="u")
    wanted = plan_slices(NicPool(snapshot=snapshot()).offering, pool, "NoSchedule")

    (one,) = slice_changes(wanted, ()).create
    assert one["metadata"]["name"] == "node-1-nic.plumbline.dev-000"
    # As an API server returns it: without what is empty.
    assert all("capacity" not in device for device in one["spec"]["devices"])
    assert not slice_changes(wanted, (one,))


@pytest.mark.parametrize("shared", [True, False])
def test_a_container_is_not_given_with_its_gpus_what_a_claim_has(shared):
    grants = NicGrants(lambda: 0.0)
    grants.claim(frozenset({"mlx5_0"}))
    found = node()
    wanted = Nics(enabled=True, shared=shared)

    given = allot(found, found.gpus, wanted, grants.taken(), claimed=grants.claimed)

    assert given.nics == ()
    assert [each.reason for each in given.missing] == ["claims have mlx5_0"]
    assert set(grants.occupied()) == {"mlx5_0"}


class Bench(ClaimBench):
    """Claims for NICs on a node."""

    driver = NIC_DRIVER

    def __init__(self, folder):
        super().__init__(folder)
        self.seen = snapshot()
        self.given = frozenset()
        self.start()

    def offers(self):
        return NicOffers(
            lambda: NicPool(snapshot=self.seen, given=self.given) if self.seen else None
        )

    def ref(self, uid, *devices, driver=NIC_DRIVER, **more):
        return super().ref(uid, *(result(each, driver=driver, **more) for each in devices))


async def test_a_claim_gets_the_nodes_of_its_nics_and_nothing_of_gpus(tmp_path):
    bench = Bench(tmp_path)

    found = await bench.prepare(bench.ref("u1", "nic-0000-18-00-0", "nic-0000-2a-00-0"))

    names = [name for each in found.devices for name in each.cdi_devices]
    assert names == [
        "k8s.nic.plumbline.dev/claim=u1-nic-0000-18-00-0",
        "k8s.nic.plumbline.dev/claim=u1-nic-0000-2a-00-0",
    ]
    assert bench.specs == {
        "k8s.nic.plumbline.dev-claim_u1.json": {
            "cdiVersion": "0.3.0",
            "kind": "k8s.nic.plumbline.dev/claim",
            "devices": [
                {
                    "name": f"u1-{device}",
                    "containerEdits": {
                        "deviceNodes": [{"path": f"/dev/infiniband/uverbs{i}", "permissions": "rw"}]
                    },
                }
                for i, device in enumerate(("nic-0000-18-00-0", "nic-0000-2a-00-0"))
            ],
            "containerEdits": {
                "deviceNodes": [{"path": "/dev/infiniband/rdma_cm", "permissions": "rw"}]
            },
        }
    }


async def test_a_node_without_the_connection_manager_gives_the_nics_alone(tmp_path):
    bench = Bench(tmp_path)
    bench.seen = snapshot(replace(node(), feature_nodes=FeatureNodes()))

    await bench.prepare(bench.ref("u1", "nic-0000-18-00-0"))

    (spec,) = bench.specs.values()
    assert "containerEdits" not in spec


async def test_a_claim_for_another_drivers_devices_alone_is_answered_with_none(tmp_path):
    bench = Bench(tmp_path)
    ref = bench.ref("u1", "gpu-0", driver="gpu.nvidia.com")

    assert await bench.prepare(ref) == Prepared(devices=())
    assert await bench.claims.unprepare([ref]) == {"u1": Released()}
    assert bench.specs == {}


async def test_each_driver_prepares_its_own_devices_of_a_claim(tmp_path):
    bench = Bench(tmp_path)
    ref = bench.ref("u1", "nic-0000-18-00-0")
    results = bench.objects["u1"]["status"]["allocation"]["devices"]["results"]
    results.insert(0, {**results[0], "driver": "gpu.nvidia.com", "device": "gpu-0"})

    found = await bench.prepare(ref)

    assert [each.device for each in found.devices] == ["nic-0000-18-00-0"]
    assert bench.claims.held == {FIRST: "default/c-u1"}


async def test_a_nic_has_one_owner(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "TAKEN_S", 0)
    bench = Bench(tmp_path)
    await bench.prepare(bench.ref("u1", "nic-0000-18-00-0"))
    bench.given = frozenset({"mlx5_1"})

    twice = await bench.prepare(bench.ref("u2", "nic-0000-18-00-0"))
    held = await bench.prepare(bench.ref("u3", "nic-0000-2a-00-0"))
    looking = await bench.prepare(bench.ref("u4", "nic-0000-18-00-0", adminAccess=True))

    assert twice == Refused(reason="nic-0000-18-00-0 is claimed by default/c-u1")
    assert held.reason == (
        "nic-0000-2a-00-0: a container was given mlx5_1 with its GPUs, through the device plugin"
    )
    assert isinstance(looking, Prepared)


async def test_a_nic_that_is_gone_is_refused_and_one_whose_port_is_down_is_not(tmp_path):
    bench = Bench(tmp_path)
    bench.seen = snapshot(node(function(1, SECOND, ports=(DOWN,))), previous=bench.seen)

    gone = await bench.prepare(bench.ref("u1", "nic-0000-18-00-0"))
    down = await bench.prepare(bench.ref("u2", "nic-0000-2a-00-0"))

    assert gone.reason == "nic-0000-18-00-0: the node no longer has it as an RDMA device"
    assert isinstance(down, Prepared)


async def test_after_a_reboot_a_claim_gets_the_node_that_its_nic_has_now(tmp_path):
    bench = Bench(tmp_path)
    ref = bench.ref("u1", "nic-0000-18-00-0")
    await bench.prepare(ref)
    moved = node(function(0, FIRST, verbs_node="/dev/infiniband/uverbs7"))
    bench.seen, bench.boot = snapshot(moved), "boot-2"
    bench.start()
    await bench.claims.load()

    await bench.prepare(ref)

    (spec,) = bench.specs.values()
    (device,) = spec["devices"]
    (opened,) = device["containerEdits"]["deviceNodes"]
    assert opened["path"] == "/dev/infiniband/uverbs7"


async def test_nothing_is_prepared_before_the_node_has_been_read(tmp_path):
    bench = Bench(tmp_path)
    bench.seen = None

    found = await bench.prepare(bench.ref("u1", "nic-0000-18-00-0"))

    assert found == Refused(reason="the node's NICs have not been read yet")
