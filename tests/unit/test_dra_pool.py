"""What the pool of a node has: instances, cells and shares, and what becomes of what is held."""

import pytest
from builders import gpu, inventory, numa, pairs_by_node
from mig_boards import H100
from msgspec.structs import replace

from agent.config.gpu_names import GpuNames
from agent.config.own import Cell, ClaimedMig, Dra, Plumbline, ServingMode
from agent.config.schema import Config
from agent.ledger.ledger import Allocation, Ledger
from agent.model.inventory import MigMode
from agent.model.mig import ComputeInstance, GpuInstance, InstancePlace, MigPlacement, Partition
from agent.planning.dra_cells import cell_with
from agent.planning.dra_devices import ExistingInstance, NewInstance, RequestPolicy, WholeGpus
from agent.planning.dra_doors import waiting_for
from agent.planning.dra_mig import OnDemand
from agent.planning.dra_shares import with_shares
from agent.planning.health import Health
from agent.planning.pool import LOST_TAINT, Claimed, GpuPool
from agent.planning.snapshot import build_snapshot

OFF, ON = MigMode(current=False, pending=False), MigMode(current=True, pending=True)
ONE_G, THREE_G = H100[0], H100[4]
HALF = MigPlacement(start=4, size=4)


def instance(gpu_number, profile, start, number=1):
    placement = next(each for each in profile.placements if each.start == start)
    compute = ComputeInstance(id=0, profile=profile.whole.id, uuid=f"MIG-{gpu_number}-{number}")
    return GpuInstance(id=number, profile=profile.id, placement=placement, compute=(compute,))


def divided(number, *instances):
    return gpu(number, mig=ON, partition=Partition(profiles=H100, instances=instances))


def pool(*gpus, ledger=None, claimed=None, live=True, mode=ServingMode.DRA, health=None, **dra):
    found = inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0), numa(1)))
    config = Config(plumbline=Plumbline(mode=mode, dra=Dra(**dra)))
    snapshot = build_snapshot(config, found, Health(unhealthy=health or {}), previous=None)
    dynamic = config.plumbline.dra.mig is ClaimedMig.DYNAMIC
    return GpuPool(
        snapshot=snapshot,
        ledger=ledger or Ledger(),
        claimed=claimed or Claimed(),
        on_demand={g.uuid: OnDemand(profiles=H100, live_mode=live) for g in gpus}
        if dynamic
        else {},
    )


def kinds(found):
    return [type(each.subject) for each in found.offering.devices]


def held(device, resource="nvidia.com/gpu"):
    return Ledger(confirmed=(Allocation(resource=resource, device=device, holder="default/p"),))


def test_an_instance_that_is_there_has_what_claims_select_by():
    found = pool(divided(0, instance(0, THREE_G, 4)), gpu(1, mig=OFF))

    assert kinds(found) == [WholeGpus, ExistingInstance]
    mig = found.offering.devices[1]
    assert mig.subject == ExistingInstance(gpu="GPU-0", uuid="MIG-0-1")
    assert mig.name == "mig-0-1"
    assert mig.attributes["type"] == "mig"
    assert mig.attributes["parentUUID"] == "GPU-0"
    assert mig.attributes["resource.kubernetes.io/pciBusID"] == "0000:01:00.0"
    assert mig.capacity["memory"] == THREE_G.memory_mib << 20
    assert [mig.capacity.get(f"memorySlice{i}") for i in range(8)] == [None] * 4 + [1] * 4
    # It is there whatever else is: it draws on nothing.
    assert not mig.consumes
    assert not found.offering.counter_sets


def test_a_gpu_is_offered_whole_and_as_whatever_it_has_room_for():
    found = pool(gpu(0, mig=OFF), mig=ClaimedMig.DYNAMIC)

    names = [each.name for each in found.offering.devices]
    places = sum(len(each.placements) for each in H100)
    assert kinds(found) == [WholeGpus] + [NewInstance] * places
    assert names[0] == "gpu-0"
    assert "gpu-0-mig-1g-10gb-6" in names
    (counters,) = found.offering.counter_sets
    whole = found.offering.devices[0]
    assert whole.consumes == {counters.name: counters.counters}


@pytest.mark.parametrize("live", [True, False])
def test_instances_that_others_made_stay_and_keep_their_gpu_from_being_whole(live):
    foreign = divided(0, instance(0, THREE_G, 4))
    found = pool(foreign, divided(1), mig=ClaimedMig.DYNAMIC, live=live)

    wholes = {each.name for each in found.offering.devices if type(each.subject) is WholeGpus}
    # MIG mode ends without a reset from Hopper on.
    assert wholes == ({"gpu-1"} if live else set())
    beside = [
        each.subject
        for each in found.offering.devices
        if isinstance(each.subject, NewInstance) and each.subject.gpu == "GPU-0"
    ]
    assert beside
    assert not any(each.placement.overlaps(HALF) for each in beside)
    assert ExistingInstance(gpu="GPU-0", uuid="MIG-0-1") in {
        each.subject for each in found.offering.devices
    }


def test_an_instance_that_a_claim_made_is_no_other_device():
    name = "gpu-0-mig-3g-40gb-4"
    subject = NewInstance(gpu="GPU-0", profile=THREE_G.id, placement=HALF)
    claimed = Claimed(uuids={"MIG-0-1": "default/c"}, devices={name: subject})
    found = pool(divided(0, instance(0, THREE_G, 4)), claimed=claimed, mig=ClaimedMig.DYNAMIC)

    listed = {each.name: each for each in found.offering.devices}
    assert "mig-0-1" not in listed
    assert listed[name].subject == subject
    # The whole GPU is there for who comes once it is free; the counters keep others from it.
    assert "gpu-0" in listed


def test_what_pods_hold_is_not_listed_and_not_given():
    found = pool(
        divided(0, instance(0, THREE_G, 4)),
        gpu(1, mig=OFF),
        gpu(2, mig=OFF),
        ledger=held("MIG-0-1", "nvidia.com/mig-3g.40gb").with_grant(
            "nvidia.com/gpu", ["GPU-1"], at_s=0
        ),
        mig=ClaimedMig.DYNAMIC,
    )

    listed = {each.subject for each in found.offering.devices}
    assert ExistingInstance(gpu="GPU-0", uuid="MIG-0-1") not in listed
    assert WholeGpus(gpus=("GPU-1",)) not in listed
    assert not any(isinstance(each, NewInstance) and each.gpu == "GPU-1" for each in listed)
    assert WholeGpus(gpus=("GPU-2",)) in listed
    assert found.fault(WholeGpus(gpus=("GPU-1",))) == (
        "it is held as nvidia.com/gpu by a pod that is being started, through the device plugin"
    )
    assert "default/p" in found.fault(ExistingInstance(gpu="GPU-0", uuid="MIG-0-1"))


def test_a_cell_that_a_claim_has_stays_when_another_would_be_made_now():
    gpus = [gpu(i, numa_node=i // 2) for i in range(4)]
    (first, _) = (
        each
        for each in pool(*gpus, cells=(Cell.PAIR,)).offering.devices
        if each.attributes["type"] == "pair"
    )
    odd = tuple(sorted({"GPU-0", "GPU-3"}))
    claimed = Claimed(
        uuids=dict.fromkeys(odd, "default/c"), devices={"pair-before": WholeGpus(gpus=odd)}
    )

    found = pool(*gpus, cells=(Cell.PAIR,), claimed=claimed, health={"GPU-0": "Xid 79"})

    pairs = {
        each.subject: bool(each.taints)
        for each in found.offering.devices
        if each.attributes["type"] == "pair"
    }
    assert first.subject in pairs
    assert pairs[WholeGpus(gpus=odd)]
    assert found.fault(WholeGpus(gpus=odd)) == "it is unhealthy: Xid 79"


def test_what_claims_have_stays_although_its_gpu_was_gone_before_the_agent_began():
    pair = ("GPU-0", "GPU-4")
    devices = {
        "gpu-1": WholeGpus(gpus=("GPU-1",)),
        "mig-2-1": ExistingInstance(gpu="GPU-2", uuid="MIG-2-1"),
        "gpu-3-mig-3g-40gb-4": NewInstance(gpu="GPU-3", profile=THREE_G.id, placement=HALF),
        cell_with(pair).name: WholeGpus(gpus=pair),
    }
    claimed = Claimed(devices=devices, addresses={"GPU-2": "0000:03:00.0"})
    found = pool(gpu(0, mig=OFF), claimed=claimed, cells=[Cell.PAIR])

    listed = {each.name: each for each in found.offering.devices}
    assert listed.keys() == {"gpu-0", *devices}
    assert {name: listed[name].subject for name in devices} == devices
    assert {name: listed[name].attributes["type"] for name in devices} == {
        "gpu-1": "gpu",
        "mig-2-1": "mig",
        "gpu-3-mig-3g-40gb-4": "mig",
        cell_with(pair).name: "pair",
    }
    assert listed["mig-2-1"].attributes["resource.kubernetes.io/pciBusID"] == "0000:03:00.0"
    assert all(listed[name].taints == {LOST_TAINT: "true"} for name in devices)
    assert found.offering.allocated == devices.keys()
    assert found.health.pop("gpu-0") is None
    assert found.health == dict.fromkeys(devices, "the driver no longer lists it")


@pytest.mark.parametrize(
    ("mode", "partition", "taints"),
    [
        (ON, None, {}),
        (None, None, {}),
        (OFF, None, {LOST_TAINT: "true"}),
        (ON, Partition(profiles=H100, instances=()), {LOST_TAINT: "true"}),
    ],
)
def test_an_instance_is_lost_when_the_driver_says_so_and_not_while_it_says_nothing(
    mode, partition, taints
):
    devices = {"mig-0-1": ExistingInstance(gpu="GPU-0", uuid="MIG-0-1")}
    seen = gpu(0, mig=mode, partition=partition)
    found = pool(seen, claimed=Claimed(devices=devices))

    assert {each.name: each.taints for each in found.offering.devices}["mig-0-1"] == taints
    assert (found.health["mig-0-1"] is None) == (not taints)


def test_what_is_left_of_a_lost_cell_is_drawn_on():
    pair = ("GPU-0", "GPU-9")
    claimed = Claimed(devices={cell_with(pair).name: WholeGpus(gpus=pair)})
    found = pool(gpu(0), gpu(1), gpu(2), claimed=claimed, cells=[Cell.PAIR])

    listed = {each.name: each for each in found.offering.devices}
    (counters,) = found.offering.counter_sets
    (drawn,) = listed[cell_with(pair).name].consumes.values()
    (own,) = listed["gpu-0"].consumes.values()
    assert drawn == own
    assert drawn.items() <= counters.counters.items()


def test_what_somebody_only_looks_at_does_not_stay():
    devices = {"gpu-1": WholeGpus(gpus=("GPU-1",))}
    found = pool(gpu(0), claimed=Claimed(devices=devices, admin_only=frozenset(devices)))

    assert [each.name for each in found.offering.devices] == ["gpu-0"]


def test_what_a_claim_has_is_not_ill_because_it_would_not_be_offered_now():
    devices = {"gpu-0": WholeGpus(gpus=("GPU-0",))}
    found = pool(divided(0), claimed=Claimed(devices=devices))

    (device,) = found.offering.devices
    assert (device.name, device.subject, device.taints) == ("gpu-0", devices["gpu-0"], {})
    assert found.health == {"gpu-0": None}


def test_a_gpu_whose_division_is_being_changed_is_not_given():
    found = pool(gpu(0, mig=OFF))
    changing = replace(found, snapshot=replace(found.snapshot, changing={"GPU-0": "it is divided"}))

    assert changing.fault(WholeGpus(gpus=("GPU-0",))) == "it is unhealthy: it is divided"


MI = 2**20


@pytest.mark.parametrize(
    ("shares", "memory", "policies"),
    [
        ("disabled", 1000 * MI + 5, {}),
        (
            "memory",
            1000 * MI,
            {"memory": RequestPolicy(default=1000 * MI, least=MI, most=1000 * MI, step=MI)},
        ),
        (
            "unlimited",
            1000 * MI,
            {"memory": RequestPolicy(default=0, least=0, most=1000 * MI, step=MI)},
        ),
        (
            3,
            1000 * MI,
            {
                "memory": RequestPolicy(default=333 * MI, least=MI, most=1000 * MI, step=MI),
                "shares": RequestPolicy(default=1, least=1, most=3, step=1),
            },
        ),
    ],
)
def test_shares_of_a_gpu(shares, memory, policies):
    found = pool(gpu(0, memory_bytes=1000 * MI + 5))
    device = with_shares(found.offering.devices[0], shares)

    assert device.shared is (shares != "disabled")
    assert device.capacity["memory"] == memory
    assert device.policies == policies
    assert device.capacity.get("shares") == (shares if isinstance(shares, int) else None)
    # The API wants defaults and ends that are whole steps.
    for policy in policies.values():
        assert policy.most % policy.step == policy.default % policy.step == 0


def test_in_mode_split_each_gpu_has_one_door_and_waits_for_who_has_it_through_the_other():
    gpus = [gpu(i) for i in range(4)]
    ledger = held("GPU-1").with_claims({"GPU-2": "default/c"})
    found = pool(*gpus, mode=ServingMode.SPLIT, gpus=GpuNames(index=(0, 1)), ledger=ledger)

    assert [each.name for each in found.offering.devices] == ["gpu-0"]
    config = found.snapshot.config.plumbline
    assert waiting_for(config, gpus, ledger) == {
        "GPU-1": "pod default/p",
        "GPU-2": "claim default/c",
    }
    assert waiting_for(config, gpus, Ledger()) == {}


def test_places_are_named_in_messages():
    place = InstancePlace(gpu="GPU-0", profile=9, placement=HALF)

    assert str(place) == "the place at 4 of GPU-0"
    assert place.is_at(instance(0, THREE_G, 4))
    assert not place.is_at(instance(0, THREE_G, 0))
    assert not place.is_at(instance(0, ONE_G, 4))
