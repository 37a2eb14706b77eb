"""A GPU that fails: what the scheduler, the pod that has it, and the next pods are told."""

import pytest
from testbed.pods import GPU, container

# The promise is two seconds. A busy machine gets more before a test calls it broken; the report
# says how long it took.
SOON_S = 10


def gpu_health(pod, container="main"):
    """Return a pod's allocatedResourcesStatus: health by device id."""

    def read(pod_object):
        statuses = pod_object.status.container_statuses or []
        status = next(s for s in statuses if s.name == container)
        return {
            each.resource_id: each.health
            for entry in status.allocated_resources_status or []
            if entry.name == GPU
            for each in entry.resources or []
        }

    return read


def wait_health(pod, expected, container="main"):
    read = gpu_health(pod, container)
    pod.wait(lambda now: read(now) == expected, why=f"reporting {expected}", timeout_s=SOON_S)


@pytest.mark.parametrize("fault", ["xid", "lost", "silently lost"])
def test_a_broken_gpu_leaves_allocatable_and_shows_in_its_pod(cluster, fault):
    cluster.serve("--device-list-strategy=cdi-cri")
    pod = cluster.pod("holder", gpus=2).wait_running()
    broken, sound = pod.held()
    wait_health(pod, {broken: "Healthy", sound: "Healthy"})
    before = pod.inside()

    with cluster.measured(f"{fault}: to allocatable 7"):
        match fault:
            case "xid":
                cluster.machine.xid(broken, 48)  # double-bit ECC error
            case "lost":
                cluster.machine.lose(broken)
            case _:
                cluster.machine.lose(broken, silently=True)
        cluster.node.wait_allocatable(GPU, 7, timeout_s=SOON_S)

    wait_health(pod, {broken: "Unhealthy", sound: "Healthy"})
    assert cluster.node.capacity[GPU] == "8"
    # The pod is its owner's to end: it keeps what it has.
    assert pod.held() == [broken, sound]
    assert before.running
    # To the scheduler the pod still uses two of seven.
    rest = cluster.pod("rest", gpus=5).wait_running()
    assert not {*rest.held()} & {*pod.held()}


def test_new_pods_avoid_a_broken_gpu(cluster):
    cluster.serve("--device-list-strategy=cdi-cri")
    broken = cluster.machine.uuids[0]
    cluster.machine.xid(broken, 48)
    cluster.node.wait_allocatable(GPU, 7, timeout_s=SOON_S)

    pods = [cluster.pod(f"one-{n}", gpus=1) for n in range(7)]

    held = sorted(uuid for pod in pods for uuid in pod.wait_running().held())
    assert held == sorted(set(cluster.machine.uuids) - {broken})
    assert f"Insufficient {GPU}" in cluster.pod("eighth", gpus=1).wait_unschedulable()


def test_only_the_container_with_the_broken_gpu_is_told(cluster):
    cluster.serve("--device-list-strategy=cdi-cri")
    pod = cluster.pod("two", container("a", gpus=1), container("b", gpus=1)).wait_running()
    (broken,), (sound,) = pod.held("a"), pod.held("b")

    cluster.machine.xid(broken, 48)

    wait_health(pod, {broken: "Unhealthy"}, "a")
    wait_health(pod, {sound: "Healthy"}, "b")


def test_an_xid_of_the_application_changes_nothing(cluster):
    cluster.serve("--device-list-strategy=cdi-cri")
    pod = cluster.pod("holder", gpus=1).wait_running()
    (held,) = pod.held()
    mark = cluster.agent.mark()

    cluster.machine.xid(held, 31)  # a page fault, the application's doing
    cluster.agent.wait_event("xid_ignored", since=mark)

    assert cluster.node.allocatable[GPU] == "8"
    wait_health(pod, {held: "Healthy"})


def test_an_agent_that_starts_again_offers_no_lost_gpu(cluster):
    cluster.serve("--device-list-strategy=cdi-cri")
    pod = cluster.pod("holder", gpus=1).wait_running()
    (held,) = pod.held()
    cluster.machine.lose(held)
    cluster.node.wait_allocatable(GPU, 7, timeout_s=SOON_S)

    mark = cluster.agent.mark()
    cluster.agent.restart()

    # The driver lists seven.
    cluster.agent.wait_event("devices_sent", since=mark, healthy=7, total=7)
    cluster.node.wait_allocatable(GPU, 7, timeout_s=SOON_S)
    assert pod.held() == [held]
