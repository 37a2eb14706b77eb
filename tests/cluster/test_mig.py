"""MIG layouts by the node's label, on a real node, by an agent that may do that and no more."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from kubernetes.client import ApiException, CoreV1Api, PolicyV1Api
from kubernetes.config import new_client_from_config
from testbed import waiting

from agent.cluster.access import from_kubeconfig
from agent.cluster.connection import ApiError, Connection
from agent.cluster.pods import Evicted, evict

RBAC = Path(__file__).parents[2] / "daemonset/rbac.yaml"
PLUMBLINE = Path(sys.executable).with_name("plumbline")
ACCOUNT = "system:serviceaccount:kube-system:plumbline"
GPU, SMALL, HALF = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
STATE, REASON = "nvidia.com/mig.config.state", "plumbline.dev/mig.config.reason"
FIRST = {"gpus": {"index": 0}, "instances": {"3g.40gb": 1, "1g.10gb": 4}}
CONFIG = {
    "version": "v1",
    "flags": {"migStrategy": "mixed", "plugin": {"deviceListStrategy": "cdi-cri"}},
    "plumbline": {
        "mig": {
            "layouts": {
                "first": [FIRST],
                "second": [FIRST, {"gpus": {"index": 1}, "instances": {"1g.10gb": 7}}],
                "third": [{"gpus": {"index": 0}, "instances": {"3g.40gb": 2}}],
            },
            "drainDeadline": "3s",
        }
    },
}


@pytest.fixture
def account(cluster):
    """The agent's service account, with what daemonset/rbac.yaml gives it."""
    applied = cluster.apply(RBAC.read_text())
    # In a cluster it has a token; to the API server it is the same user with this certificate.
    yield cluster.plane.kubeconfig("plumbline", user=ACCOUNT)
    cluster.delete(*applied)


@pytest.fixture
def labelled(cluster, account):
    """Start the agent on the node; afterwards its GPUs are whole and its labels gone."""

    # What a kubelet says that has just started is not taken for the whole truth for a while.
    socket = cluster.node_side.kubelet_dir / "pod-resources" / "kubelet.sock"
    long_ago = time.time() - 3600
    os.utime(socket, (long_ago, long_ago))

    def start(**mig):
        config = {**CONFIG, "plumbline": {"mig": {**CONFIG["plumbline"]["mig"], **mig}}}
        cluster.serve(
            f"--node-name={cluster.node.name}",
            f"--kubeconfig={account}",
            config=yaml.safe_dump(config),
        )

    yield start
    cluster.delete_pods()
    cluster.agent.end()
    order(cluster, None)
    whole = [PLUMBLINE, "mig", "apply", "-c", "all-disabled", "--machine", cluster.machine.folder]
    subprocess.run(whole, check=True, capture_output=True)


def order(cluster, layout):
    labels = {"nvidia.com/mig.config": layout}
    if layout is None:
        labels |= {STATE: None, REASON: None}
    body = {"metadata": {"labels": labels}}
    cluster.core.patch_node(cluster.node.name, body)


def wait_state(cluster, state, reason=None):
    """Wait until the node says so; return the whole reason."""

    def so(node):
        labels = node.metadata.labels
        return (labels.get(STATE), labels.get(REASON)) == (state, reason)

    node = cluster.node.wait(so, why=f"{STATE} is not {state}, {reason}", timeout_s=30)
    return (node.metadata.annotations or {}).get(REASON)


def test_the_layout_of_a_gpu_is_changed_by_label_while_pods_run_on_another(cluster, labelled):
    labelled()
    whole = cluster.pod("whole", gpus=1).wait_running()
    assert cluster.machine.uuids[0] not in whole.held()
    assert cluster.machine.uuids[1] not in whole.held()

    order(cluster, "first")
    cluster.node.wait_allocatable(HALF, 1)
    cluster.node.wait_allocatable(SMALL, 4)
    assert wait_state(cluster, "success") is None
    half = cluster.pod("half", resources={HALF: 1}).wait_running()
    small = cluster.pod("small", resources={SMALL: 1}).wait_running()
    running = [(pod, pod.inside()) for pod in (whole, half, small)]
    before = [inside.sight for _, inside in running]

    order(cluster, "second")
    cluster.node.wait_allocatable(SMALL, 11)
    cluster.node.wait_allocatable(GPU, 6)
    assert wait_state(cluster, "success") is None

    assert all(inside.running for _, inside in running)
    assert [inside.sight for _, inside in running] == before
    another = cluster.pod("another", resources={SMALL: 1}).wait_running()
    assert another.held(resource=SMALL) != small.held(resource=SMALL)


def test_a_container_may_open_its_instance_and_its_gpu(cluster, labelled):
    labelled()
    order(cluster, "first")
    cluster.node.wait_allocatable(HALF, 1)

    inside = cluster.pod("half", resources={HALF: 1}).wait_running().inside()

    caps = [path for path in inside.devices if path.startswith("/dev/nvidia-caps/nvidia-cap")]
    assert len(caps) == 2
    assert "/dev/nvidia0" in inside.devices
    assert "/dev/nvidia1" not in inside.devices
    rules = {rule.partition(" rw")[0] for rule in inside.allowed_devices}
    for path in caps:
        node = inside.devices[path]
        assert f"c {node.major}:{node.minor}" in rules


def test_a_pod_in_the_way_is_named_and_the_change_comes_when_it_has_ended(cluster, labelled):
    labelled()
    order(cluster, "first")
    cluster.node.wait_allocatable(SMALL, 4)
    pod = cluster.pod("works", resources={SMALL: 1}).wait_running()
    process = pod.inside().sight.first_process

    order(cluster, "third")
    message = wait_state(cluster, "failed", "in-use")
    assert "is held by pod default/works" in message
    assert pod.inside().sight.first_process == process
    # Offered again as it was.
    cluster.node.wait_allocatable(SMALL, 4)
    events = cluster.core.list_namespaced_event(
        "default", field_selector=f"involvedObject.name={cluster.node.name}"
    ).items
    assert any(e.reason == "MigLayoutFailed" and "default/works" in e.message for e in events)

    cluster.delete_pods()
    cluster.node.wait_allocatable(HALF, 2, timeout_s=40)
    assert wait_state(cluster, "success") is None


def test_a_pod_in_the_way_is_evicted_where_that_is_allowed(cluster, labelled):
    labelled(evict=True, drainDeadline="60s")
    order(cluster, "first")
    cluster.node.wait_allocatable(HALF, 1)
    cluster.pod("works", resources={SMALL: 1}).wait_running()

    order(cluster, "third")

    cluster.node.wait_allocatable(HALF, 2, timeout_s=40)
    assert wait_state(cluster, "success") is None
    assert [each["answer"] for each in cluster.agent.events("mig_eviction")][:1] == ["asked"]


def test_the_account_may_do_what_it_needs_and_no_more(cluster, account):
    connection = Connection(from_kubeconfig(account))
    assert connection.get(f"/api/v1/nodes/{cluster.node.name}")["kind"] == "Node"
    for path in ("/api/v1/pods", "/api/v1/secrets", "/apis/apps/v1/daemonsets"):
        with pytest.raises(ApiError) as error:
            connection.get(path)
        assert error.value.status == 403
    core = CoreV1Api(new_client_from_config(str(account)))
    with pytest.raises(ApiException) as refused:
        core.delete_node(cluster.node.name)
    assert refused.value.status == 403


def test_a_budget_holds_an_eviction_back(cluster, account):
    pod = cluster.pod("kept")
    pod.wait_running()
    cluster.core.patch_namespaced_pod("kept", "default", {"metadata": {"labels": {"a": "kept"}}})
    (budget,) = cluster.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "kept", "namespace": "default"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "kept"}}},
        }
    )
    policy = PolicyV1Api(cluster.core.api_client)
    # A budget whose controller has not counted its pods yet lets none go either.
    waiting.poll(
        lambda: (
            policy.read_namespaced_pod_disruption_budget("kept", "default").status.current_healthy
        ),
        what=lambda: "the budget counts no pod",
    )
    connection = Connection(from_kubeconfig(account))

    assert evict(connection, "default/kept") is Evicted.BUDGET
    cluster.delete(budget)
    assert evict(connection, "default/kept") is Evicted.ASKED
    cluster.wait_no_pods(names={"kept"})
    assert evict(connection, "default/kept") is Evicted.GONE
