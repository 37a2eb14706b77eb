"""The agent ends while the kubelet is admitting pods; none of them gets what another has."""

import signal

import pytest
from testbed.capacity import check_whole
from testbed.replicas import replicas
from testbed.tenants import Tenants, check_none_is_given_twice

CDI = "--device-list-strategy=cdi-cri"
# Why the kubelet may reject a pod: the agent went during the call, just before it, or is not
# back yet.
IN_THE_CALL = "rpc error: "
RIGHT = (IN_THE_CALL, "has been stopped", "no healthy devices present; ")


def check_settled(cluster, tenants, crowd, mark):
    crowd.wait_running()
    check_none_is_given_twice(cluster)
    tenants.check()
    check_whole(cluster, mark)
    for why in crowd.rejected():
        assert why.startswith("UnexpectedAdmissionError: Pod was rejected: Allocate failed"), why
        assert any(reason in why for reason in RIGHT), why


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("nth", [1, 4])
def test_pods_admitted_while_the_agent_ends_run_or_are_replaced(cluster, end, nth):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 1)
    mark = cluster.agent.mark()

    with replicas(cluster, "crowd", count=7, gpus=1) as crowd:
        cluster.agent.wait_event("rpc_begin", method="Allocate", since=mark, nth=nth)
        cluster.agent.restart(end)
        check_settled(cluster, tenants, crowd, mark)


def test_a_pod_whose_allocation_died_with_the_agent_is_replaced(cluster):
    """The agent is stopped first, so that its end comes in the midst of the kubelet's call."""
    cluster.serve(CDI)
    tenants = Tenants(cluster, 1)
    mark = cluster.agent.mark()

    cluster.agent.process.send(signal.SIGSTOP)
    with replicas(cluster, "midst", count=7, gpus=1) as crowd:
        cluster.process("kubelet").wait_logged('"SyncLoop ADD" source="api" pods=["default/midst-')
        cluster.agent.restart(signal.SIGKILL)
        check_settled(cluster, tenants, crowd, mark)
        assert any(IN_THE_CALL in why for why in crowd.rejected())
