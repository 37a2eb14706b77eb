"""Kubelet, agent and containerd end and come back; who runs with GPUs does not notice."""

import signal
import time

import pytest
from testbed.capacity import check_back, check_whole
from testbed.pods import GPU
from testbed.tenants import Tenants, check_none_is_given_twice

CDI = "--device-list-strategy=cdi-cri"


@pytest.mark.parametrize(("end", "times"), [(signal.SIGTERM, 5), (signal.SIGKILL, 2)])
def test_pods_run_on_through_restarts_of_the_kubelet(cluster, end, times):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)

    for _ in range(times):
        mark = cluster.agent.mark()
        check_back(
            cluster, f"kubelet ended with {end.name}", lambda: cluster.restart("kubelet", end)
        )
        tenants.check()
        check_whole(cluster, mark)

    cluster.pod("rest", gpus=3).wait_running()
    check_none_is_given_twice(cluster)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_pods_run_on_through_restarts_of_the_agent(cluster, end):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)

    for _ in range(2):
        mark = cluster.agent.mark()
        check_back(cluster, f"agent ended with {end.name}", lambda: cluster.restart("agent", end))
        tenants.check()
        check_whole(cluster, mark)

    cluster.pod("rest", gpus=3).wait_running()
    check_none_is_given_twice(cluster)


def test_a_kubelet_that_starts_without_the_agent_leaves_pods_alone(cluster):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)
    cluster.agent.stop()
    cluster.restart("kubelet")

    # The kubelet knows of the resource from before, and of no device; what runs may stay.
    cluster.node.wait(
        lambda node: node.status.capacity.get(GPU) == "0",
        why="the kubelet does not say that it has none",
        timeout_s=15,
    )
    assert cluster.node.status.allocatable[GPU] == "0"
    tenants.check()
    assert f"Insufficient {GPU}" in cluster.pod("early", gpus=1).wait_unschedulable()

    mark = cluster.agent.mark()
    check_back(cluster, "the kubelet started before the agent", lambda: cluster.agent.start(CDI))
    tenants.check()
    check_whole(cluster, mark)
    cluster.pod("rest", gpus=2).wait_running()
    check_none_is_given_twice(cluster)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_pods_run_on_through_restarts_of_containerd(cluster, end):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)
    mark = cluster.agent.mark()

    cluster.stop("containerd", end)
    tenants.check_inside()
    check_back(cluster, f"containerd ended with {end.name}", lambda: cluster.start("containerd"))

    tenants.check()
    cluster.pod("rest", gpus=3).wait_running()
    check_none_is_given_twice(cluster)
    # The agent had no part in it.
    assert cluster.agent.events("stream_ended", since=mark) == []


def test_pods_run_on_while_the_api_server_is_away_for_a_minute(cluster):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)
    mark = cluster.agent.mark()

    cluster.stop("kube-apiserver", signal.SIGKILL)
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        tenants.check_inside()
        assert cluster.node.offered(GPU) == 8
        time.sleep(1)  # the minute is what is tested
    check_back(cluster, "a minute without API server", lambda: cluster.start("kube-apiserver"))

    tenants.check()
    assert cluster.agent.events("stream_ended", since=mark) == []
    # Who has missed the server for a minute asks again after up to another; who starts, at once.
    for name in ("kube-scheduler", "kube-controller-manager", "kubelet"):
        cluster.restart(name)
    tenants.check()
    cluster.pod("rest", gpus=3).wait_running()
    check_none_is_given_twice(cluster)
