"""Claims that say how their containers share GPUs, on a real node."""

import json
import signal
from types import SimpleNamespace

import mps_node as mps
import pytest
import yaml
from kubernetes.dynamic.exceptions import DynamicApiError
from test_dra import API, DAEMONSET, DRIVER, PATIENCE_S, claims
from testbed import pods, waiting

__all__ = ["claims"]  # a fixture


def config(sharing, kind="GpuConfig", **more):
    parameters = {"apiVersion": "resource.nvidia.com/v1beta1", "kind": kind, "sharing": sharing}
    return {"opaque": {"driver": DRIVER, "parameters": {**parameters, **more}}}


LONG = config({"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}})
HALF = config({"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 50}})


def one_gpu(*configs):
    requests = [{"name": "gpu", "exactly": {"deviceClassName": DRIVER}}]
    return {"requests": requests, "config": list(configs)}


def uuid_of(cluster, claims, name):
    (device,) = claims.allocated(name)
    return next(each for each in cluster.machine.uuids if each.lower() == device)


def test_a_claim_sets_a_time_slice_and_takes_it_along(cluster, claims):
    node = SimpleNamespace(machine=cluster.machine.folder)
    claims.claim_devices("turns", one_gpu(LONG))
    pod = claims.pod("user", "turns", containers=("a", "b")).wait_running(timeout_s=PATIENCE_S)
    assert mps.slices(node) == {uuid_of(cluster, claims, "turns"): 3}

    mark = cluster.agent.mark()
    cluster.agent.restart(signal.SIGKILL)
    cluster.agent.wait_event("dra_registered", since=mark)
    assert len(mps.slices(node)) == 1
    pod.delete()
    claims.wait_none_left()
    assert mps.slices(node) == {}


def test_the_containers_of_a_claim_meet_one_mps_daemon(cluster, claims):
    node = SimpleNamespace(machine=cluster.machine.folder)
    claims.claim_devices("parts", one_gpu(HALF))
    pod = claims.pod("user", "parts", containers=("a", "b")).wait_running(timeout_s=PATIENCE_S)

    ((pipe, daemon),) = mps.daemons(node).items()
    assert daemon.gpus == uuid_of(cluster, claims, "parts")
    assert mps.told(node, pipe, "get_default_active_thread_percentage") == "50.0"
    told = {pod.inside(each).env["CUDA_MPS_PIPE_DIRECTORY"] for each in ("a", "b")}
    assert told == {f"/mps/{pipe.split('/')[-2]}/pipe"}

    mark = cluster.agent.mark()
    cluster.agent.restart(signal.SIGKILL)
    cluster.agent.wait_event("dra_registered", since=mark)
    ((_, still),) = mps.daemons(node).items()
    assert still.pid == daemon.pid
    pod.delete()
    claims.wait_none_left()
    assert mps.found(node) == []
    assert set(mps.compute_modes(node)) == {"default"}


def test_a_claim_with_a_wrong_configuration_says_so_in_the_pods_events(cluster, claims):
    wrong = config({"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Longer"}})
    claims.claim_devices("wrong", one_gpu(wrong))
    claims.pod("user", "wrong")

    def said():
        events = cluster.core.list_namespaced_event(pods.NAMESPACE).items
        return [each.message for each in events if each.involved_object.name == "user"]

    waiting.poll(
        lambda: any("interval: 'Longer' is none of" in each for each in said()),
        what=lambda: cluster.explain(f"the events of the pod are {said()}"),
        timeout_s=PATIENCE_S,
    )


@pytest.fixture
def policy(cluster):
    """The policy that looks at configurations early, once it is in force."""
    applied = cluster.apply((DAEMONSET / "admission-opaque.yaml").read_text())
    wrong = claim(one_gpu(config({})))
    waiting.poll(
        lambda: refusal(cluster, wrong) is not None,
        what=lambda: "the policy does not come into force",
        timeout_s=30,
    )
    yield
    cluster.delete(*applied)


def claim(devices):
    return {
        "apiVersion": API,
        "kind": "ResourceClaim",
        "metadata": {"name": "tried", "namespace": pods.NAMESPACE},
        "spec": {"devices": devices},
    }


def template(devices):
    return {
        **claim(devices),
        "kind": "ResourceClaimTemplate",
        "spec": {"spec": {"devices": devices}},
    }


def device_class(devices):
    return {
        "apiVersion": API,
        "kind": "DeviceClass",
        "metadata": {"name": "tried.example.com"},
        "spec": {"config": devices["config"]},
    }


def refusal(cluster, document):
    """What an API server says against a document; None when it would take it."""
    kind = cluster.dynamic.resources.get(api_version=API, kind=document["kind"])
    where = {"namespace": pods.NAMESPACE} if kind.namespaced else {}
    try:
        cluster.dynamic.create(kind, body=document, dry_run="All", **where)
    except DynamicApiError as error:
        return json.loads(error.body)["message"]
    return None


def by_mps(**fields):
    return config({"strategy": "MPS", "mpsConfig": fields})


FOREIGN = {"opaque": {"driver": "dra.example.com", "parameters": {"sharing": 3}}}
RIGHT = [
    LONG,
    HALF,
    FOREIGN,
    config(None),
    config({"strategy": "TimeSlicing", "timeSlicingConfig": {}}),
    config({"strategy": "TimeSlicing"}, kind="MigDeviceConfig"),
    by_mps(
        defaultPinnedDeviceMemoryLimit="10Gi",
        defaultPerDevicePinnedMemoryLimit={"0": "5Gi", "1": 2**30},
        multiUser=True,
    ),
]
WRONG = [
    (config(None, kind="GPUConfig"), "parameters.kind: it must be GpuConfig or MigDeviceConfig"),
    (
        config(None, apiVersion="v1"),
        "parameters.apiVersion: it must be resource.nvidia.com/v1beta1",
    ),
    (config(None, sharign={}), "parameters: unknown key sharign"),
    (config(3), "parameters.sharing: it must be a mapping"),
    (config({}), "sharing.strategy: it must be TimeSlicing or MPS"),
    (config({"strategy": "mps"}), "sharing.strategy: it must be TimeSlicing or MPS"),
    (
        config({"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Longer"}}),
        "sharing.timeSlicingConfig.interval: it must be Default, Short, Medium or Long",
    ),
    (
        config({"strategy": "MPS", "timeSlicingConfig": {}}),
        "sharing.timeSlicingConfig: it does not go with strategy MPS",
    ),
    (
        config({"strategy": "TimeSlicing", "mpsConfig": {}}),
        "sharing.mpsConfig: it does not go with strategy TimeSlicing",
    ),
    (
        config({"strategy": "TimeSlicing", "timeSlicingConfig": {}}, kind="MigDeviceConfig"),
        "sharing.timeSlicingConfig: a MIG instance has no time slices",
    ),
    (
        by_mps(defaultActiveThreadPercentage=101),
        "mpsConfig.defaultActiveThreadPercentage: it must be a whole number from 0 to 100",
    ),
    (
        by_mps(defaultPinnedDeviceMemoryLimit="10GB"),
        "mpsConfig.defaultPinnedDeviceMemoryLimit: it must be a quantity of 1Mi or more",
    ),
    (
        by_mps(defaultPerDevicePinnedMemoryLimit={"0": "1Gi", "1": "much"}),
        "mpsConfig.defaultPerDevicePinnedMemoryLimit: no quantity of 1Mi or more stands under 1",
    ),
    (by_mps(multiUser="yes"), "mpsConfig.multiUser: it must be true or false"),
    (by_mps(multiuser=True), "sharing.mpsConfig: unknown key multiuser"),
]


@pytest.mark.usefixtures("policy")
def test_what_is_malformed_is_refused_as_soon_as_it_is_written(cluster):
    for make, where in (
        (claim, "spec.devices.config[1]"),
        (template, "spec.spec.devices.config[1]"),
        (device_class, "spec.config[1]"),
    ):
        for right in RIGHT:
            assert refusal(cluster, make(one_gpu(FOREIGN, right))) is None, right
        for wrong, said in WRONG:
            answer = refusal(cluster, make(one_gpu(FOREIGN, wrong)))
            assert answer is not None, wrong
            assert f"{where}.opaque.parameters" in answer
            assert said in answer


@pytest.mark.usefixtures("policy")
def test_the_examples_are_taken(cluster):
    for name in ("gpu-by-turns", "gpu-through-mps"):
        first, _pod = yaml.safe_load_all((DAEMONSET / f"examples/{name}.yaml").read_text())
        assert refusal(cluster, first) is None
