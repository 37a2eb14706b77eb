"""GPUs and exclusive CPUs under the kubelet's Topology Manager: what runs, and what may not."""

import pytest
from testbed.pods import GPU, container

REJECTED = "TopologyAffinityError"
POLICIES = ["none", "best-effort", "restricted", "single-numa-node"]
NUMA_NODES = {0, 1}


def under(*policies):
    """Run a test under these policies; one after the other for all tests, as each is a restart."""
    return pytest.mark.parametrize("policy", policies, scope="module")


@pytest.fixture
def topology(empty_node):
    """Start the agent below a kubelet with this policy and scope."""

    def start(policy, scope="container"):
        empty_node.configure_kubelet(topologyManagerPolicy=policy, topologyManagerScope=scope)
        empty_node.serve("--device-list-strategy=cdi-cri")
        return empty_node

    return start


def gpu_nodes(cluster, pod, container="main"):
    """Return the NUMA nodes of a container's GPUs."""
    return {cluster.machine.numa_node(uuid) for uuid in pod.held(container)}


def cpu_nodes(cluster, pod, container="main"):
    """Return the NUMA nodes of a container's exclusive CPUs, which its runtime was told too."""
    cpus = cluster.node.cpus(pod.name, container)
    assert pod.inside(container).cpus == cpus
    return {n for n in NUMA_NODES if cpus & cluster.machine.cpus(n)}


def test_the_kubelet_has_eight_gpus_on_two_numa_nodes(topology):
    cluster = topology("single-numa-node")

    devices = [d for d in cluster.node.allocatable_resources().devices if d.resource_name == GPU]

    told = {d.device_ids[0]: [n.ID for n in d.topology.nodes] for d in devices}
    assert told == {uuid: [cluster.machine.numa_node(uuid)] for uuid in cluster.machine.uuids}
    assert sorted(told.values()) == [[0]] * 4 + [[1]] * 4


@under(*POLICIES)
def test_what_fits_a_numa_node_runs_under_every_policy(topology, policy):
    cluster = topology(policy)

    pods = [cluster.pod(f"fits-{n}", gpus=2, cpus=8) for n in range(4)]

    for pod in pods:
        pod.wait_running()
        if policy != "none":
            assert gpu_nodes(cluster, pod) == cpu_nodes(cluster, pod)
            assert len(gpu_nodes(cluster, pod)) == 1
    held = [uuid for pod in pods for uuid in pod.held()]
    assert sorted(held) == sorted(cluster.machine.uuids)


@under(*POLICIES)
@pytest.mark.parametrize("cpus", [None, 120], ids=["shared-cpus", "cpus-of-both"])
def test_what_fits_no_numa_node_is_rejected_by_one_policy_only(topology, policy, cpus):
    cluster = topology(policy)

    pod = cluster.pod("six", gpus=6, cpus=cpus)

    if policy == "single-numa-node":
        assert pod.wait_rejected() == REJECTED
    else:
        assert gpu_nodes(cluster, pod.wait_running()) == NUMA_NODES


@under("restricted")
def test_gpus_of_two_numa_nodes_beside_cpus_of_one_are_rejected(topology, policy):
    cluster = topology(policy)

    # Eight CPUs fit one node, six GPUs do not: to the kubelet no set of nodes is the best for
    # both, however good the GPUs are.
    assert cluster.pod("six", gpus=6, cpus=8).wait_rejected() == REJECTED


@under(*POLICIES)
def test_gpus_that_are_scattered_are_refused_where_the_policy_says_so(topology, policy):
    cluster = topology(policy)
    # Three of each node are taken: two are free, on different nodes.
    for name in ("a", "b"):
        cluster.pod(name, gpus=3, cpus=4).wait_running()

    pod = cluster.pod("across", gpus=2, cpus=4)

    if policy in ("none", "best-effort"):
        pod.wait_running()
        expected = NUMA_NODES if policy == "best-effort" else gpu_nodes(cluster, pod)
        assert gpu_nodes(cluster, pod) == expected
    else:
        # Two would have fitted one node, had it been free.
        assert pod.wait_rejected() == REJECTED


@under("restricted", "single-numa-node")
def test_small_pods_leave_a_numa_node_whole(topology, policy):
    cluster = topology(policy)
    for n in range(4):
        cluster.pod(f"one-{n}", gpus=1, cpus=2).wait_running()

    pod = cluster.pod("four", gpus=4, cpus=2).wait_running()

    assert len(gpu_nodes(cluster, pod)) == 1


@under("best-effort", "restricted", "single-numa-node")
def test_gpus_follow_the_cpus_that_are_free(topology, policy):
    cluster = topology(policy)
    hog = cluster.pod("hog", cpus=100).wait_running()
    (crowded,) = cpu_nodes(cluster, hog)

    pod = cluster.pod("beside", gpus=2, cpus=20).wait_running()

    assert gpu_nodes(cluster, pod) == cpu_nodes(cluster, pod) == NUMA_NODES - {crowded}


def test_with_scope_container_every_container_is_aligned_by_itself(topology):
    cluster = topology("single-numa-node", "container")

    pod = cluster.pod("pair", container("a", gpus=3, cpus=4), container("b", gpus=3, cpus=4))

    pod.wait_running()
    nodes = [gpu_nodes(cluster, pod, name) for name in ("a", "b")]
    assert sorted(map(len, nodes)) == [1, 1]
    assert nodes[0] != nodes[1]
    assert nodes == [cpu_nodes(cluster, pod, name) for name in ("a", "b")]


def test_with_scope_pod_all_containers_share_one_numa_node(topology):
    cluster = topology("single-numa-node", "pod")

    pod = cluster.pod("pair", container("a", gpus=2, cpus=4), container("b", gpus=2, cpus=4))

    pod.wait_running()
    nodes = [gpu_nodes(cluster, pod, name) for name in ("a", "b")]
    assert nodes[0] == nodes[1]
    assert nodes == [cpu_nodes(cluster, pod, name) for name in ("a", "b")]
    assert len(nodes[0]) == 1


def test_with_scope_pod_a_pod_wider_than_a_numa_node_is_rejected(topology):
    cluster = topology("single-numa-node", "pod")

    pod = cluster.pod("pair", container("a", gpus=3, cpus=4), container("b", gpus=3, cpus=4))

    assert pod.wait_rejected() == REJECTED


# Init containers: the kubelet gives what they had to the containers that come after them.


@under("none", "single-numa-node")
@pytest.mark.parametrize(("first", "then"), [(4, 4), (2, 4), (4, 2)])
def test_the_devices_of_an_init_container_are_used_again(topology, policy, first, then):
    cluster = topology(policy)
    looks = ["/bin/sh", "-c", "echo $(ls /dev | grep '^nvidia[0-9]')"]

    pod = cluster.pod(
        "staged",
        container(gpus=then, cpus=4),
        init=[container("first", gpus=first, cpus=4, command=looks)],
    ).wait_running()

    index = cluster.machine.uuids.index
    had = {f"/dev/{name}" for name in pod.log("first").split()}
    has = {f"/dev/nvidia{index(uuid)}" for uuid in pod.held()}
    assert (len(had), len(has)) == (first, then)
    assert had <= has or has <= had
    # The pod keeps the larger of the two, not their sum, and the rest can be had.
    rest = cluster.pod("rest", gpus=8 - max(first, then), cpus=4).wait_running()
    assert not set(rest.held()) & set(pod.held())
    assert len(gpu_nodes(cluster, pod)) == 1


def test_the_devices_of_a_sidecar_are_its_own(topology):
    cluster = topology("single-numa-node", "pod")

    pod = cluster.pod(
        "sidecar",
        container(gpus=2, cpus=4),
        init=[container("beside", gpus=1, cpus=4, restartPolicy="Always")],
    ).wait_running()

    main, beside = set(pod.held("main")), set(pod.held("beside"))
    assert (len(main), len(beside), len(main & beside)) == (2, 1, 0)
    assert gpu_nodes(cluster, pod, "main") == gpu_nodes(cluster, pod, "beside")
