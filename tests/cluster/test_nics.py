"""A pod that asks for GPUs finds the NICs beside them, in a real container."""

import json

import pytest

TOPOLOGY = "/run/plumbline/topology.json"


def rails(inside):
    return {rail["nic"]: rail for rail in json.loads(inside.read(TOPOLOGY))["rails"]}


@pytest.mark.parametrize("strategy", ["envvar", "cdi-cri"])
def test_a_container_has_its_gpus_nics_and_may_open_them(cluster, strategy):
    cluster.serve("--nics-enabled", f"--device-list-strategy={strategy}")

    pod = cluster.pod("rdma", gpus=2).wait_running()

    inside = pod.inside()
    given = rails(inside)
    assert {rail["gpu"] for rail in given.values()} == set(pod.held())
    assert inside.env["NCCL_IB_HCA"] == "=" + ",".join(given)
    assert TOPOLOGY in inside.mounts
    nodes = {path for path in inside.devices if path.startswith("/dev/infiniband/")}
    assert nodes == {r["device_node"] for r in given.values()} | {"/dev/infiniband/rdma_cm"}
    for rail in given.values():
        node = inside.devices[rail["device_node"]]
        rules = {rule.partition(" rw")[0] for rule in inside.allowed_devices}
        assert f"c {node.major}:{node.minor}" in rules


def test_pods_have_different_nics_and_a_restarted_container_the_same(cluster):
    cluster.serve("--nics-enabled")
    one = cluster.pod("one", gpus=1).wait_running()
    two = cluster.pod("two", gpus=1).wait_running()
    before = rails(one.inside())
    assert set(before).isdisjoint(rails(two.inside()))

    cluster.restart("kubelet")
    three = cluster.pod("three", gpus=1).wait_running()

    assert rails(one.inside()) == before
    assert set(before).isdisjoint(rails(three.inside()))
