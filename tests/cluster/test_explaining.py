"""What the agent says of its decisions, held against what a real kubelet did."""

from testbed.waiting import poll

from agent.cli.running_agent import ask, socket_of


def decision(cluster, pod):
    """What the agent recorded of a pod, once the kubelet has told it whose devices they are."""
    socket = socket_of(cluster.machine.folder, None)

    def found():
        return ask(socket, ask="decisions", pod=f"default/{pod.name}")

    poll(found, what=lambda: f"no decision is named after {pod.name}")
    return found()[0]


def test_a_running_pod_is_explained_by_its_name(cluster):
    cluster.serve()

    pod = cluster.pod("trainer", gpus=2).wait_running()

    found = decision(cluster, pod)
    assert sorted(found["devices"]) == pod.held()
    assert (found["size"], found["quality"]) == (2, "best")
    assert found["free"] == [*range(8)]
    assert len(found["answer"]["explanation"]["numa_nodes"]) == 1


def test_what_the_hint_left_out_counts_as_free(cluster):
    cluster.configure_kubelet(topologyManagerPolicy="single-numa-node")
    cluster.serve()

    found = decision(cluster, cluster.pod("aligned", gpus=2).wait_running())

    assert found["offered"] == 4, "the GPUs of one NUMA node"
    assert found["free"] == [*range(8)]


def test_gpus_of_a_pod_that_ended_are_free_to_the_next(cluster):
    cluster.serve()
    first = cluster.pod("first", gpus=6).wait_running()
    decision(cluster, first)
    first.delete()

    found = decision(cluster, cluster.pod("second", gpus=2).wait_running())

    assert found["free"] == [*range(8)]
