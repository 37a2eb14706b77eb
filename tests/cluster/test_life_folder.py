"""The folder in which agent and kubelet meet is wiped under them."""

import shutil
import signal

import pytest
from testbed import waiting
from testbed.capacity import check_back, check_whole
from testbed.pods import GPU
from testbed.tenants import Tenants, check_none_is_given_twice

CDI = "--device-list-strategy=cdi-cri"


def empty(cluster):
    for path in cluster.node_side.plugin_dir.iterdir():
        path.unlink()


def checkpoint(cluster):
    return cluster.node_side.plugin_dir / "kubelet_internal_checkpoint"


def test_a_folder_emptied_under_kubelet_and_agent_costs_nothing(cluster):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)
    mark = cluster.agent.mark()
    empty(cluster)
    cluster.agent.wait_event("kubelet_absent", since=mark)

    tenants.check()
    assert cluster.node.offered(GPU) == 8
    cluster.pod("meanwhile", gpus=1).wait_running()
    check_none_is_given_twice(cluster)
    # A kubelet makes its socket only when it starts.
    check_back(cluster, "the folder emptied", lambda: cluster.restart("kubelet"))
    tenants.check()
    check_whole(cluster, mark)
    cluster.pod("rest", gpus=2).wait_running()
    check_none_is_given_twice(cluster)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_kubelet_restarted_after_the_folder_was_emptied_knows_who_holds_what(cluster, end):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)
    mark = cluster.agent.mark()
    empty(cluster)
    # The agent has the kubelet write its accounts once more, while it still has them.
    cluster.agent.wait_event("kubelet_checkpoint_lost", since=mark)
    waiting.poll(checkpoint(cluster).exists, what=lambda: cluster.explain("no checkpoint"))

    check_back(cluster, "the folder emptied", lambda: cluster.restart("kubelet", end))
    tenants.check()
    check_whole(cluster, mark)
    cluster.pod("rest", gpus=3).wait_running()
    check_none_is_given_twice(cluster)


def test_a_kubelet_that_starts_without_the_folder_gives_nothing_twice(cluster):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 3, 2)
    mark = cluster.agent.mark()
    cluster.stop("kubelet")
    shutil.rmtree(cluster.node_side.plugin_dir)

    cluster.start("kubelet")

    # Such a kubelet knows nothing of what was given before it: only the agent does.
    cluster.node.wait_told_of(tenants.held)
    assert [pod.held() for pod in tenants.pods] == [[], []]
    cluster.agent.wait_event("devices_sent", since=mark, healthy=3, total=8)
    cluster.node.wait_allocatable(GPU, 3)
    tenants.check_inside()
    # To the scheduler the five are used of three: nothing more fits until a pod ends.
    rest = cluster.pod("rest", gpus=3)
    assert f"Insufficient {GPU}" in rest.wait_unschedulable()

    tenants.pods[0].delete()
    rest.wait_running()
    check_none_is_given_twice(cluster)
    cluster.node.wait_allocatable(GPU, 6)
