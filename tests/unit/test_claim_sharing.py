"""Devices that the containers of a claim share, and claims that share a device."""

import pytest
from builders import gpu, inventory
from claim_bench import GPU_DRIVER, GpuClaimBench, idle_node, result

from agent.config.schema import Config
from agent.config.sharing import Sharing, TimeSlice, TimeSlicedResource, TimeSlicing
from agent.ledger.ledger import Ledger
from agent.model.errors import BusyError, HardwareError
from agent.planning.claim_usage import MpsUsage, Usage, usage_obstacle
from agent.planning.health import Health
from agent.planning.mps import Served, rendezvous_of
from agent.planning.snapshot import build_snapshot
from agent.serving.claim_sharing import ClaimSharing
from deviceplugin.dra.values import Prepared

MODERN = {"compute_capability": "9.0"}


class Driver:
    """What a node's driver and its MPS daemons are like."""

    def __init__(self):
        self.slices = {}
        self.sets = {}
        self.dead = set()
        self.fails = None

    def set_time_slice(self, uuid, time_slice):
        if self.fails:
            raise self.fails
        self.slices[uuid] = time_slice

    def put_back_time_slice(self, uuid):
        self.slices.pop(uuid, None)

    def serve(self, mps_set):
        if self.fails:
            raise self.fails
        self.sets[mps_set.name] = mps_set
        return rendezvous_of(mps_set, "/run/mps", "/dev/shm/mps")

    def end(self, name):
        self.sets.pop(name, None)

    def revive(self, name):
        if self.fails:
            raise self.fails
        died = name in self.dead
        self.dead.discard(name)
        return died


class Bench(GpuClaimBench):
    """Claims on a node of four GPUs."""

    def __init__(self, folder):
        self.node = Driver()
        gpus = (gpu(0, compute_capability="6.1"), *(gpu(i, **MODERN) for i in (1, 2, 3)))
        super().__init__(folder, idle_node(*gpus))

    def stages(self):
        self.sharing = ClaimSharing(
            self.store,
            self.node,
            driver=GPU_DRIVER,
            obstacle=lambda uuid, usage: usage_obstacle(self.seen, uuid, usage),
            in_thread=self.in_thread,
        )
        return (self.sharing,)

    def ref(self, uid, results, *configs):
        return super().ref(uid, *results, configs=configs)

    async def prepared(self, uid, results, *configs):
        return await super().prepared(self.ref(uid, results, *configs))

    async def refused(self, uid, results, *configs):
        return await super().refused(self.ref(uid, results, *configs))


def config(sharing, *requests, source="FromClaim", kind="GpuConfig"):
    parameters = {"apiVersion": "resource.nvidia.com/v1beta1", "kind": kind, "sharing": sharing}
    return {
        "source": source,
        "requests": list(requests),
        "opaque": {"driver": GPU_DRIVER, "parameters": parameters},
    }


def turns(interval, *requests, **more):
    sharing = {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": interval}}
    return config(sharing, *requests, **more)


def mps(*requests, **limits):
    return config({"strategy": "MPS", "mpsConfig": limits}, *requests)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_a_time_slice_is_set_as_long_as_the_claim_is_prepared(bench):
    await bench.prepared("u1", [result("gpu-1", "a"), result("gpu-2", "b")], turns("Long", "a"))
    assert bench.node.slices == {"GPU-1": TimeSlice.LONG}

    bench.start()
    await bench.claims.load()
    await bench.unprepare("u1")
    assert bench.node.slices == {}


async def test_the_request_of_a_prioritised_list_is_found_by_what_it_became(bench):
    await bench.prepared("u1", [result("gpu-1", "a/first")], turns("Short", "a"))
    await bench.prepared("u2", [result("gpu-2", "a/first")], turns("Short", "a/first"))
    await bench.prepared("u3", [result("gpu-3", "a/first")], turns("Short", "a/second"))

    assert bench.node.slices == dict.fromkeys(("GPU-1", "GPU-2"), TimeSlice.SHORT)


async def test_a_gpu_without_time_slices_fails_only_claims_that_want_one(bench):
    bench.node.fails = HardwareError("setting the time slice of GPU-1: not supported")

    await bench.prepared("u1", [result("gpu-1")], turns("Default"))
    assert "not supported" in await bench.refused("u2", [result("gpu-2")], turns("Long"))


async def test_the_containers_of_a_claim_meet_one_mps_daemon(bench):
    limits = {
        "defaultActiveThreadPercentage": 50,
        "defaultPinnedDeviceMemoryLimit": "10Gi",
        "defaultPerDevicePinnedMemoryLimit": {"1": "5Gi"},
        "multiUser": True,
    }
    results = [result("gpu-1", "a"), result("gpu-2", "b"), result("gpu-3", "c")]
    await bench.prepared("u1", results, mps("a", "b", **limits))

    (served,) = bench.node.sets.values()
    assert served.name == "claim-u1"
    assert served.gpus == ("GPU-1", "GPU-2")
    assert [each.memory_mib for each in served.limits] == [10240, 5120]
    assert (served.threads_percent, served.multi_user) == (50, True)
    for name in ("u1-gpu-1", "u1-gpu-2"):
        edits = bench.edits("u1")[name]
        assert edits["env"] == ["CUDA_MPS_PIPE_DIRECTORY=/mps/claim-u1/pipe"]
        assert {each["containerPath"]: each["hostPath"] for each in edits["mounts"]} == {
            "/mps/claim-u1/pipe": "/run/mps/claim-u1/pipe",
            "/dev/shm": "/dev/shm/mps/claim-u1",
        }
    assert "mounts" not in bench.edits("u1")["u1-gpu-3"]

    bench.start()
    await bench.claims.load()
    assert "claim-u1" in bench.node.sets
    await bench.unprepare("u1")
    assert bench.node.sets == {}


async def test_the_same_claim_is_prepared_once(bench):
    first = await bench.prepared("u1", [result("gpu-1")], mps())
    bench.node.fails = HardwareError("a second time")

    assert await bench.prepared("u1", [result("gpu-1")], mps()) == first


async def test_what_cannot_be_started_leaves_nothing(bench):
    bench.node.fails = BusyError("these processes have to end: 7")
    configs = [turns("Long", "a"), mps("b")]

    assert "7" in await bench.refused("u1", [result("gpu-1", "a"), result("gpu-2", "b")], *configs)

    bench.node.fails = None
    await bench.prepared("u1", [result("gpu-1", "a"), result("gpu-2", "b")], *configs)
    assert (bench.node.slices, set(bench.node.sets)) == (
        {"GPU-1": TimeSlice.LONG},
        {"claim-u1"},
    )


async def test_after_a_reboot_everything_is_done_again(bench):
    results, configs = [result("gpu-1", "a"), result("gpu-2", "b")], [turns("Long", "a"), mps("b")]
    await bench.prepared("u1", results, *configs)
    bench.node.slices.clear()
    bench.node.sets.clear()
    bench.boot = "boot-2"
    bench.start()
    await bench.claims.load()

    await bench.prepared("u1", results, *configs)

    assert (bench.node.slices, set(bench.node.sets)) == (
        {"GPU-1": TimeSlice.LONG},
        {"claim-u1"},
    )


@pytest.mark.parametrize(
    ("results", "configs", "said"),
    [
        (
            [result("gpu-1", adminAccess=True)],
            [mps()],
            "gpu-1: MPS takes a device over, and adminAccess",
        ),
        ([result("gpu-0")], [mps()], "gpu-0: GPU 0 has compute capability 6.1"),
        (
            [result("gpu-1", "a"), result("gpu-2", "b")],
            [mps("a"), mps("b", defaultActiveThreadPercentage=5)],
            "requests a, b have different MPS configurations",
        ),
        (
            [result("gpu-1")],
            [mps(defaultPerDevicePinnedMemoryLimit={"1": "1Gi"})],
            "defaultPerDevicePinnedMemoryLimit: '1' is no device of the claim",
        ),
        ([result("gpu-1")], [turns("Longest")], "interval: 'Longest' is none of"),
        (
            [result("gpu-1", "a"), result("gpu-2", "b")],
            [config({"strategy": "MPS"}, "b", kind="MigDeviceConfig")],
            "a MigDeviceConfig names request 'b', whose device is a GPU",
        ),
        (
            [result("gpu-1", "a", shareID="s1"), result("gpu-1", "b", shareID="s2")],
            [turns("Long", "a")],
            "requests a and b have gpu-1 together, and use it differently",
        ),
    ],
)
async def test_what_contradicts_is_refused(bench, results, configs, said):
    assert said in await bench.refused("u1", results, *configs)
    assert (bench.node.slices, bench.node.sets) == ({}, {})


async def test_who_only_looks_on_changes_no_time_slice(bench):
    of_class = turns("Long", source="FromClass")
    await bench.prepared("u1", [result("gpu-1", adminAccess=True)], of_class)

    assert bench.node.slices == {}


def test_what_the_configuration_shares_is_not_shared_by_a_claim():
    found = inventory(gpu(0, **MODERN), gpu(1, **MODERN))
    shared = TimeSlicing(resources=(TimeSlicedResource(name="gpu", replicas=2, devices=(0,)),))
    config = Config(sharing=Sharing(time_slicing=shared))
    seen = build_snapshot(config, found, Health(), previous=None)
    wanted = Usage(time_slice=TimeSlice.LONG)

    assert usage_obstacle(seen, "GPU-0", wanted) == (
        "the configuration shares it already (sharing.timeSlicing.resources[0])"
    )
    assert usage_obstacle(seen, "GPU-1", wanted) is None
    served = Served(rendezvous={"GPU-1": None})
    ending = seen.with_state(Health(), Ledger(), served=served)
    assert "has to end first" in usage_obstacle(ending, "GPU-1", wanted)
    assert usage_obstacle(seen, "GPU-9", Usage(mps=MpsUsage())) == "it is no longer on this node"


def share(number, share_id, request="r"):
    return result(f"gpu-{number}", request, shareID=share_id)


async def test_claims_that_share_a_gpu_need_the_same_time_slice(bench):
    await bench.prepared("u1", [share(1, "s1")], turns("Long"))

    for configs in ([turns("Short")], [], [turns("Default")], [mps()]):
        said = await bench.refused("u2", [share(1, "s2")], *configs)
        assert said == (
            "claims default/c-u2 and default/c-u1 have gpu-1 together, and use it differently; give"
            " both the same configuration"
        )
    await bench.prepared("u3", [share(1, "s3")], turns("Long"))

    await bench.unprepare("u1")
    assert bench.node.slices == {"GPU-1": TimeSlice.LONG}
    await bench.unprepare("u3")
    assert bench.node.slices == {}


async def test_beside_a_claim_without_configuration_none_can_have_one(bench):
    await bench.prepared("u1", [share(1, "s1")])

    assert "use it differently" in await bench.refused("u2", [share(1, "s2")], mps())
    await bench.prepared("u3", [share(1, "s3")], turns("Default"))


async def test_claims_that_share_gpus_through_mps_have_one_daemon_until_the_last_ends(bench):
    both = [share(1, "s1", "a"), share(2, "s1", "b")]
    first = await bench.prepared("u1", both, mps())
    # The scheduler may find them in another order.
    other = [share(2, "s2", "b"), share(1, "s2", "a")]
    await bench.prepared("u2", other, mps())
    assert set(bench.node.sets) == {"claim-u1"}
    assert bench.edits("u2")["u2-gpu-1-s2"]["env"] == bench.edits("u1")["u1-gpu-1-s1"]["env"]
    assert len(first.devices) == 2
    assert "serves other devices" in await bench.refused("u3", [share(1, "s3")], mps())

    bench.start()
    await bench.claims.load()
    await bench.unprepare("u1")
    assert set(bench.node.sets) == {"claim-u1"}
    await bench.unprepare("u2")
    assert bench.node.sets == {}


async def test_of_two_claims_at_once_for_one_gpu_both_get_it_where_they_agree(bench):
    refs = [bench.ref(uid, [share(1, uid)], mps()) for uid in ("u1", "u2", "u3")]

    found = await bench.claims.prepare(refs)

    assert {type(each) for each in found.values()} == {Prepared}
    assert len(bench.node.sets) == 1
    await bench.claims.unprepare(refs)
    assert bench.node.sets == {}


async def test_a_daemon_that_has_died_is_started_anew(bench):
    await bench.prepared("u1", [result("gpu-1")], mps())
    await bench.prepared("u2", [result("gpu-2")])
    bench.node.dead = {"claim-u1"}
    bench.node.fails = HardwareError("it does not start")

    await bench.sharing.look_after(bench.claims.known)
    await bench.sharing.look_after(bench.claims.known)
    assert bench.node.dead == {"claim-u1"}
    bench.node.fails = None
    await bench.sharing.look_after(bench.claims.known)

    assert bench.node.dead == set()
