"""What GPUs are claimed as beside whole ones, on a real node: instances, cells and shares."""

import json
import signal
import subprocess

import pytest
from test_dra import DRIVER, PATIENCE_S, PLUMBLINE, claims, configuration, gpu_nodes
from testbed import waiting

__all__ = ["claims"]  # a fixture

GPU, MIG = "nvidia.com/gpu", "mig.nvidia.com"


def with_dra(**dra):
    return pytest.mark.parametrize("claims", [dra], indirect=True)


def profile(name):
    expression = f'device.attributes["{DRIVER}"].profile == "{name}"'
    return [{"cel": {"expression": expression}}]


def instances(cluster):
    """The shapes of the instances of each GPU that is in MIG mode, by its index."""
    shown = subprocess.run(
        [PLUMBLINE, "mig", "status", "--machine", cluster.machine.folder, "-o", "json"],
        capture_output=True,
        check=True,
    )
    return {
        each["index"]: sorted(one["profile"] for one in each["instances"])
        for each in json.loads(shown.stdout)
        if each["mode"] == "on"
    }


def mig(cluster, *words):
    subprocess.run(
        [PLUMBLINE, "mig", *words, "--machine", cluster.machine.folder],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def whole_afterwards(cluster):
    """Requested before ``claims``, so that it ends after the agent has."""
    yield
    mig(cluster, "apply", "-c", "all-disabled")


@with_dra(mig="dynamic")
def test_instances_are_made_for_claims_and_go_with_them(cluster, whole_afterwards, claims):
    if cluster.components.minor < 36:
        pytest.skip("before 1.36 a scheduler goes through slices, and so GPUs, in any order")
    claims.claim("small", 2, deviceClassName=MIG, selectors=profile("1g.10gb"))
    claims.claim("half", deviceClassName=MIG, selectors=profile("3g.40gb"))
    users = [
        claims.pod(f"user-{name}", name).wait_running(timeout_s=PATIENCE_S)
        for name in ("small", "half")
    ]

    # All on one GPU: the others stay whole.
    (shapes,) = instances(cluster).values()
    assert shapes == ["1g.10gb", "1g.10gb", "3g.40gb"]
    (index,) = instances(cluster)
    for user, count in zip(users, (2, 1), strict=True):
        inside = user.inside()
        assert inside.gpus == {f"/dev/nvidia{index}"}
        caps = [path for path in inside.devices if path.startswith("/dev/nvidia-caps/")]
        assert len(caps) == 2 * count
    claims.claim("whole", 7)
    whole = claims.pod("user-whole", "whole").wait_running(timeout_s=PATIENCE_S)
    assert f"/dev/nvidia{index}" not in whole.inside().gpus

    # The agent is killed, and its successor knows what is whose.
    mark = cluster.agent.mark()
    cluster.agent.restart(signal.SIGKILL)
    cluster.agent.wait_event("dra_registered", since=mark)
    users[0].delete()
    waiting.poll(
        lambda: instances(cluster) == {index: ["3g.40gb"]},
        what=lambda: cluster.explain(f"instances: {instances(cluster)}"),
        timeout_s=30,
    )
    users[1].delete()
    waiting.poll(
        lambda: instances(cluster) == {},
        what=lambda: cluster.explain(f"instances: {instances(cluster)}"),
        timeout_s=30,
    )


@with_dra(mig="dynamic")
def test_a_gpu_is_whole_again_for_who_comes_after_its_instances(cluster, whole_afterwards, claims):
    claims.claim("small", deviceClassName=MIG, selectors=profile("7g.80gb"))
    small = claims.pod("user-small", "small").wait_running(timeout_s=PATIENCE_S)
    claims.claim("all", 8)
    everything = claims.pod("user-all", "all")
    small.delete()

    everything.wait_running(timeout_s=PATIENCE_S)
    assert len(everything.inside().gpus) == 8
    assert instances(cluster) == {}


def test_instances_that_are_there_are_claimed_by_their_profile(cluster, whole_afterwards, claims):
    mig(cluster, "apply", "-c", "all-balanced", "--gpu", "0")
    waiting.poll(
        lambda: any(each["attributes"]["type"]["string"] == "mig" for each in claims.devices()),
        what=lambda: cluster.explain("no instance is published"),
        timeout_s=20,
    )
    claims.claim("mine", 2, deviceClassName=MIG, selectors=profile("1g.10gb"))
    pod = claims.pod("user", "mine").wait_running(timeout_s=PATIENCE_S)

    assert pod.inside().gpus == {"/dev/nvidia0"}
    before = instances(cluster)
    pod.delete()
    claims.wait_none_left()
    # Who made them keeps them.
    assert instances(cluster) == before


@with_dra(cells=["pair", "quad"])
def test_cells_are_claimed_as_one_and_never_beside_what_they_are_made_of(cluster, claims):
    if cluster.components.minor < 35:
        pytest.skip("counters stand beside their devices before 1.35, and there are no cells")
    devices = {each["name"]: each for each in claims.devices()}
    assert len(devices) == 8 + 4 + 2
    claims.claim("pair", deviceClassName="pair.plumbline.dev")
    claims.claim("quad", deviceClassName="quad.plumbline.dev")
    claims.claim("single", 2)
    pods = {
        name: claims.pod(f"user-{name}", name).wait_running(timeout_s=PATIENCE_S)
        for name in ("pair", "quad", "single")
    }

    seen = {name: pod.inside().gpus for name, pod in pods.items()}
    assert {name: len(gpus) for name, gpus in seen.items()} == {"pair": 2, "quad": 4, "single": 2}
    assert len(set().union(*seen.values())) == 8
    # The quad took the half that the pair had left whole, and lies on one NUMA node.
    (quad,) = claims.allocated("quad")
    assert "numaNode" in devices[quad]["attributes"]
    assert seen["single"] == gpu_nodes(cluster, claims.allocated("single"))


@with_dra(shares=2)
def test_two_claims_have_one_gpu_where_it_is_shared_and_no_third(cluster, claims):
    one_gpu = [{"cel": {"expression": f'device.attributes["{DRIVER}"].gpuIndex == 3'}}]
    for number in range(3):
        claims.claim(f"share-{number}", selectors=one_gpu)
    sharing = [
        claims.pod(f"user-{number}", f"share-{number}").wait_running(timeout_s=PATIENCE_S)
        for number in range(2)
    ]
    third = claims.pod("user-2", "share-2")

    assert [pod.inside().gpus for pod in sharing] == [{"/dev/nvidia3"}] * 2
    ids = [claims.results(f"share-{number}")[0]["shareID"] for number in range(2)]
    assert len(set(ids)) == 2
    third.wait_unschedulable()
    sharing[0].delete()
    third.wait_running(timeout_s=PATIENCE_S)


@with_dra(shares="memory")
def test_a_claim_takes_as_much_memory_as_it_asks_for(cluster, claims):
    one_gpu = [{"cel": {"expression": f'device.attributes["{DRIVER}"].gpuIndex == 5'}}]
    for name, size in (("large", "60Gi"), ("small", "10Gi"), ("too-much", "20Gi")):
        claims.claim(name, selectors=one_gpu, capacity={"requests": {"memory": size}})
    for name in ("large", "small"):
        claims.pod(f"user-{name}", name).wait_running(timeout_s=PATIENCE_S)

    claims.pod("user-too-much", "too-much").wait_unschedulable()


@with_dra(mode="split", gpus={"index": [4, 5, 6, 7]})
def test_each_gpu_of_a_split_node_has_one_door(cluster, claims):
    claims.wait_devices(4)
    cluster.node.wait_allocatable(GPU, 4)
    claims.claim("four", 4)
    claimed = claims.pod("claimed", "four").wait_running(timeout_s=PATIENCE_S)
    asked = cluster.pod("asked", gpus=4).wait_running(timeout_s=PATIENCE_S)

    assert claimed.inside().gpus == {f"/dev/nvidia{i}" for i in range(4, 8)}
    assert asked.inside().gpus == {f"/dev/nvidia{i}" for i in range(4)}


def test_another_mode_changes_what_is_free_and_waits_for_the_rest(cluster, claims):
    claims.claim("two", 2)
    claimed = claims.pod("claimed", "two").wait_running(timeout_s=PATIENCE_S)
    taken = claimed.inside().gpus

    mark = cluster.agent.mark()
    cluster.agent.configure(configuration("device-plugin"))
    cluster.node.wait_allocatable(GPU, 6)
    waits = cluster.agent.wait_event("gpus_wait_for_their_door", since=mark)
    assert len(waits["held"]) == 2
    assert all("claim default/two" in each for each in waits["held"])
    asked = cluster.pod("asked", gpus=6).wait_running(timeout_s=PATIENCE_S)
    assert asked.inside().gpus.isdisjoint(taken)
    claimed.delete()
    cluster.node.wait_allocatable(GPU, 8)

    # And back: what a pod has through the device plugin is claimed when it has ended.
    cluster.agent.configure(configuration("dra"))
    claims.wait_devices(2)
    asked.delete()
    claims.wait_devices(8)
