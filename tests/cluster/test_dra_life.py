"""Claims while things end, hang and are replaced, on a real node."""

import json
import os
import signal

import pytest
from test_dra import DRIVER, PATIENCE_S, claims, gpu_nodes
from testbed import pods, versions, waiting

__all__ = ["claims"]  # a fixture

# Two hundred take four minutes; the few of every run find what leaks as well.
MANY = int(os.environ.get("PLUMBLINE_CLAIMING_PODS", "24"))
NEWER = "9.8.7"
API = "resource.k8s.io/v1"


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    return versions.make(tmp_path_factory.mktemp("newer"), NEWER)


def template(cluster, name, count=1):
    exactly = {"deviceClassName": "gpu.nvidia.com", "count": count}
    return cluster.apply(
        {
            "apiVersion": API,
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": name, "namespace": pods.NAMESPACE},
            "spec": {"spec": {"devices": {"requests": [{"name": "gpus", "exactly": exactly}]}}},
        }
    )


def templated(cluster, name, of):
    container = {**pods.container(), "resources": {"claims": [{"name": "own"}]}}
    return cluster.pod(
        name, container, resourceClaims=[{"name": "own", "resourceClaimTemplateName": of}]
    )


def left_over(cluster):
    """What claims have left on the node."""
    folder = cluster.machine.folder
    return sorted(
        path.name
        for pattern in ("var/lib/plumbline/*claims*/*", "var/run/cdi/*claim_*")
        for path in folder.glob(pattern)
    )


def wait_nothing_left(cluster):
    waiting.poll(
        lambda: not left_over(cluster),
        what=lambda: cluster.explain(f"claims have left {left_over(cluster)}"),
        timeout_s=60,
    )


def test_every_pod_of_a_template_gets_a_claim_of_its_own(cluster, claims):
    made = template(cluster, "four", 4)
    both = [templated(cluster, name, "four") for name in ("one", "two")]
    seen = [pod.wait_running(timeout_s=PATIENCE_S).inside().gpus for pod in both]

    assert [len(gpus) for gpus in seen] == [4, 4]
    assert seen[0].isdisjoint(seen[1])
    cluster.delete(*made)


@pytest.mark.timeout(400)
def test_many_pods_with_claims_come_and_go_and_nothing_is_left(cluster, claims):
    made = template(cluster, "single")
    with cluster.measured(f"{MANY} pods with claims created and deleted"):
        for wave in range(0, MANY, 8):
            names = [f"pod-{wave + i}" for i in range(min(8, MANY - wave))]
            here = [templated(cluster, name, "single") for name in names]
            seen = [pod.wait_running(timeout_s=PATIENCE_S).inside().gpus for pod in here]
            assert len(set().union(*seen)) == len(here)
            for pod in here:
                cluster.core.delete_namespaced_pod(pod.name, pods.NAMESPACE, grace_period_seconds=0)
            cluster.wait_no_pods(names=set(names))

    wait_nothing_left(cluster)
    cluster.delete(*made)


def test_an_api_server_that_is_away_while_a_claim_is_prepared_is_waited_for(cluster, claims):
    # The agent hears nothing until the claim is allocated and the server gone.
    cluster.agent.process.send(signal.SIGSTOP)
    claims.claim("two", 2)
    pod = claims.pod("user", "two")
    pod.wait(lambda now: now.spec.node_name, why="scheduled")
    cluster.stop("kube-apiserver", signal.SIGKILL)
    cluster.agent.process.send(signal.SIGCONT)
    cluster.start("kube-apiserver")

    # A kubelet that could not read the claim itself tries again a minute and a half later.
    pod.wait_running(timeout_s=150)
    assert pod.inside().gpus == gpu_nodes(cluster, claims.allocated("two"))


def test_a_gpu_of_a_pod_that_was_deleted_by_force_is_given_when_it_has_ended(cluster, claims):
    claims.claim("first", 8)
    claims.pod("first", "first").wait_running(timeout_s=PATIENCE_S)
    before = left_over(cluster)
    # To the API server the pod is gone, and its claim free; on the node it is not.
    cluster.process("kubelet").send(signal.SIGSTOP)
    try:
        cluster.core.delete_namespaced_pod("first", pods.NAMESPACE, grace_period_seconds=0)
        claims.delete_all()
        claims.claim("second", 8)
        second = claims.pod("second", "second")
        second.wait(lambda now: now.spec.node_name, why="scheduled")
        assert left_over(cluster) == before
    finally:
        cluster.process("kubelet").send(signal.SIGCONT)

    second.wait_running(timeout_s=PATIENCE_S)
    assert set(left_over(cluster)).isdisjoint(before)
    assert len(second.inside().gpus) == 8


def test_a_newer_agent_stands_by_and_takes_the_claims_over(cluster, claims, newer):
    claims.claim("lasting", 2)
    pod = claims.pod("user", "lasting").wait_running(timeout_s=PATIENCE_S)
    before, older = pod.inside().sight, cluster.agent.process
    published = {each["name"] for each in claims.devices()}

    mark = cluster.agent.mark()
    claims.start({}, source=newer)
    cluster.agent.wait_event("standing_by", since=mark)
    older.end(signal.SIGTERM)
    cluster.agent.wait_event("dra_registered", since=mark)

    assert {each["name"] for each in claims.devices()} == published
    assert pod.inside().sight == before
    claims.claim("later", 6)
    later = claims.pod("later", "later").wait_running(timeout_s=PATIENCE_S)
    assert later.inside().gpus.isdisjoint(pod.inside().gpus)
    folder = cluster.machine.folder / "var/lib/plumbline/claims"
    assert len(list(folder.iterdir())) == 2
    pod.delete()
    later.delete()
    wait_nothing_left(cluster)


@pytest.mark.parametrize("claims", [{"metadata": True}], indirect=True)
def test_containers_are_told_about_the_devices_of_their_claims(cluster, claims):
    made = template(cluster, "two", 2)
    claims.claim("direct")
    users = {
        "resourceclaims/direct": claims.pod("direct", "direct"),
        "resourceclaimtemplates/own": templated(cluster, "templated", "two"),
    }
    published = {each["name"]: each["attributes"] for each in claims.devices()}

    for folder, pod in users.items():
        inside = pod.wait_running(timeout_s=PATIENCE_S).inside()
        path = f"/var/run/kubernetes.io/dra-device-attributes/{folder}/gpus/{DRIVER}-metadata.json"
        told, _ = json.JSONDecoder().raw_decode(inside.read(path))
        assert told["apiVersion"] == "metadata.resource.k8s.io/v1beta1"
        (request,) = told["requests"]
        names = [each["name"] for each in request["devices"]]
        assert gpu_nodes(cluster, names) == inside.gpus
        assert [each["attributes"] for each in request["devices"]] == [published[n] for n in names]
        pod.delete()
    wait_nothing_left(cluster)
    assert not list(cluster.node_side.kubelet_dir.glob("plugins/*/dra-device-metadata/*"))
    cluster.delete(*made)
