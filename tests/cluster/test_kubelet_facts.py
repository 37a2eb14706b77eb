"""What a kubelet does with pods and their devices, where the agent would not let it show."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from testbed import waiting
from testbed.plugin import BarePlugin, Refused, wait_healthy
from testbed.pods import container
from testbed.standin import Standin

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.standin import Container, Pod
from deviceplugin.values import Device

UNEXPECTED = "UnexpectedAdmissionError"
GRACE_S = 300


def make_devices(*ids, **more):
    return [Device(id=id_, healthy=True, **more) for id_ in ids]


@pytest.fixture
def bare(cluster):
    made = []

    def make(*ids, **more):
        """Start a plugin with these devices; the kubelet has them on return."""
        plugin = BarePlugin(cluster.node_side.plugin_dir, devices=make_devices(*ids, **more))
        made.append(plugin.start())
        wait_healthy(cluster, plugin.resource, ids)
        return plugin

    yield make
    for plugin in made:
        plugin.stop()


@pytest.fixture
def bound(cluster):
    """Create a pod on the node without asking the scheduler."""

    def make(name, *containers, **spec):
        return cluster.pod(name, *containers, nodeName=cluster.node.name, **spec)

    return make


def asking(plugin, count, name="main", **more):
    return container(name, resources={plugin.resource: count}, **more)


def asked(plugin, method):
    return [call for call in plugin.calls if call.method == method.name]


# Choosing


def test_every_container_is_a_call_of_its_own_with_ids_in_no_order(bare, bound):
    ids = [f"d{n:02}" for n in range(16)]
    plugin = bare(*ids)

    bound("many", *(asking(plugin, 3, f"c{n}") for n in range(5))).wait_running()

    allocated = [ids for call in asked(plugin, rpc.ALLOCATE) for ids in call.device_ids]
    assert [len(ids) for ids in allocated] == [3] * 5
    offers = [call.available for call in asked(plugin, rpc.PREFER)]
    assert [len(offer) for offer in offers] == [16, 13, 10, 7, 4]
    # 16! * 13! * 10! orders in which they could have come.
    assert not all(list(offer) == sorted(offer) for offer in offers)


def test_a_plugin_is_asked_for_its_preference_only_if_it_says_so_when_dialled(bare, bound, cluster):
    plugin = bare("d0", "d1")
    plugin.prefer = None
    plugin.register()
    wait_healthy(cluster, plugin.resource, ["d0", "d1"])

    bound("p", asking(plugin, 1)).wait_running()

    assert (plugin.count(rpc.PREFER), plugin.count(rpc.ALLOCATE)) == (0, 1)


def test_a_preference_that_cannot_be_followed_is_filled_up(bare, bound):
    plugin = bare("d0", "d1", "d2")
    plugin.prefer = lambda _: ["d2", "nonsense"]

    pod = bound("p", asking(plugin, 2)).wait_running()

    held = pod.held(resource=plugin.resource)
    assert len(held) == 2
    assert "d2" in held


def test_one_pod_is_admitted_after_the_other(bare, bound):
    plugin = bare(*(f"d{n}" for n in range(8)))
    asked_now, at_once = set(), []

    def slow(call):
        asked_now.add(call)
        at_once.append(len(asked_now))
        time.sleep(0.1)  # a plugin that takes its time
        asked_now.remove(call)
        return api.ContainerAllocateResponse()

    plugin.allocate = slow

    for pod in [bound(f"p{n}", asking(plugin, 2)) for n in range(4)]:
        pod.wait_running()

    assert at_once == [1] * 4


def refuse(_call):
    raise Refused("the plugin says why")


@pytest.mark.parametrize("answer", ["prefer", "allocate"])
def test_an_error_of_the_plugin_rejects_the_pod_in_its_words(bare, bound, answer):
    plugin = bare("d0", "d1")
    working = getattr(plugin, answer)
    setattr(plugin, answer, refuse)

    pod = bound("refused", asking(plugin, 2))

    assert pod.wait_rejected() == UNEXPECTED
    message = pod.status.message
    assert "Allocate failed due to " in message
    assert "rpc error: code = InvalidArgument desc = the plugin says why" in message
    # Nothing is lost: the next pod gets the same devices.
    setattr(plugin, answer, working)
    held = bound("next", asking(plugin, 2)).wait_running().held(resource=plugin.resource)
    assert held == ["d0", "d1"]


def test_what_the_node_lacks_is_told_in_numbers(bare, bound):
    plugin = bare("d0", "d1")

    pod = bound("greedy", asking(plugin, 3))

    assert pod.wait_rejected() == UNEXPECTED
    assert f"unavailable for {plugin.resource}" in pod.status.message
    assert "Requested: 3, Available: 2" in pod.status.message


def test_a_pod_bound_to_a_resource_that_nobody_registered_runs_without_it(cluster, bound):
    pod = bound("hopeful", container(resources={"plumbline.test/never": 1})).wait_running()

    (main,) = cluster.node.pod_resources()[pod.name].containers
    assert list(main.devices) == []


def test_a_pod_bound_to_a_resource_whose_plugin_is_gone_is_rejected(bare, bound):
    plugin = bare("d0")
    plugin.end_streams()

    pod = bound("late", asking(plugin, 1))

    assert pod.wait_rejected() == UNEXPECTED
    assert "no healthy devices" in pod.status.message


# What a container is told


def test_a_container_that_starts_again_gets_the_first_answer_again(bare, bound):
    plugin = bare("d0", "d1")
    plugin.allocate = lambda _: api.ContainerAllocateResponse(
        envs={"ANSWER": str(plugin.count(rpc.ALLOCATE))}
    )
    once = "if [ -e /state/seen ]; then sleep 1000; fi; touch /state/seen; exit 1"

    pod = bound(
        "again",
        asking(
            plugin,
            1,
            command=["/bin/sh", "-c", once],
            volumeMounts=[{"name": "state", "mountPath": "/state"}],
        ),
        restartPolicy="Always",
        volumes=[{"name": "state", "emptyDir": {}}],
    )

    pod.wait(lambda now: _restarts(now) == 1 and now.status.container_statuses[0].state.running)
    assert pod.env["ANSWER"] == "1"
    assert plugin.count(rpc.ALLOCATE) == 1


def _restarts(pod):
    return sum(status.restart_count for status in pod.status.container_statuses or ())


def test_what_a_pod_says_of_an_environment_variable_overrules_the_plugin(bare, bound):
    plugin = bare("d0")
    plugin.allocate = lambda _: api.ContainerAllocateResponse(
        envs={"WHOSE": "the plugin's", "OTHER": "the plugin's"}
    )

    pod = bound("own", asking(plugin, 1, env=[{"name": "WHOSE", "value": "the pod's"}]))

    env = pod.wait_running().env
    assert (env["WHOSE"], env["OTHER"]) == ("the pod's", "the plugin's")


# Health


def test_a_plugin_that_goes_is_not_told_to_pods_that_hold_its_devices(cluster, bare, bound):
    plugin = bare("d0", "d1")
    pod = bound("holder", asking(plugin, 1)).wait_running()
    (held,) = pod.held(resource=plugin.resource)

    plugin.list([Device(id="d0", healthy=held != "d0"), Device(id="d1", healthy=held != "d1")])
    pod.wait(lambda now: _health(now, plugin.resource) == {held: "Unhealthy"})
    plugin.list(make_devices("d0", "d1"))
    pod.wait(lambda now: _health(now, plugin.resource) == {held: "Healthy"})
    plugin.end_streams()

    cluster.node.wait_allocatable(plugin.resource, 0)
    assert _health_now(pod, plugin.resource) == {held: "Healthy"}
    assert pod.inside().running


def _health(pod, resource):
    return {
        each.resource_id: each.health
        for container_status in pod.status.container_statuses or ()
        for status in container_status.allocated_resources_status or ()
        if status.name == resource
        for each in status.resources
    }


def _health_now(pod, resource):
    class Seen:
        status = pod.status

    return _health(Seen, resource)


# What the kubelet remembers


def wait_listed(cluster, pod):
    """Wait until PodResources tells of a pod."""
    waiting.poll(
        lambda: pod.name in cluster.node.pod_resources(),
        what=lambda: cluster.explain(f"{pod.name} is not listed", "kubelet"),
        timeout_s=30,
    )


def test_devices_are_remembered_over_a_restart_whose_plugin_is_late(cluster, bare, bound):
    plugin = bare("d0", "d1", "d2")
    pod = bound("keeper", asking(plugin, 2)).wait_running()
    held = pod.held(resource=plugin.resource)
    plugin.stop()

    cluster.restart("kubelet")

    # What it holds cannot be asked at once: until it has its pods, a kubelet lists none.
    wait_listed(cluster, pod)
    assert pod.held(resource=plugin.resource) == held
    successor = BarePlugin(
        cluster.node_side.plugin_dir, plugin.resource, make_devices("d0", "d1", "d2")
    ).start()
    wait_healthy(cluster, plugin.resource, ["d0", "d1", "d2"])
    (other,) = bound("next", asking(plugin, 1)).wait_running().held(resource=plugin.resource)
    assert other not in held
    assert [set(call.available) for call in asked(successor, rpc.PREFER)] == [{other}]
    successor.stop()


def test_a_kubelet_that_has_not_heard_of_its_pods_lists_none_and_forgets_nothing(
    cluster, bare, bound
):
    plugin = bare("d0", "d1")
    pod = bound("keeper", asking(plugin, 1)).wait_running()
    held, inside = pod.held(resource=plugin.resource), pod.inside()

    cluster.stop("kube-apiserver", signal.SIGKILL)
    cluster.restart("kubelet")
    plugin.stop()
    unheard = cluster.node.pod_resources()
    cluster.start("kube-apiserver")

    assert unheard == {}
    assert inside.running
    wait_listed(cluster, pod)
    assert pod.held(resource=plugin.resource) == held


CHECKPOINT = "kubelet_internal_checkpoint"


def test_a_damaged_checkpoint_is_as_good_as_none_and_devices_are_given_twice(cluster, bare, bound):
    plugin = bare("d0", "d1")
    pod = bound("keeper", asking(plugin, 1)).wait_running()
    assert pod.held(resource=plugin.resource) == ["d1"]
    plugin.stop()

    damaged = cluster.node_side.plugin_dir / CHECKPOINT
    cluster.stop("kubelet")
    damaged.write_text("{}")
    cluster.start("kubelet")

    wait_listed(cluster, pod)
    assert pod.held(resource=plugin.resource) == []
    successor = BarePlugin(
        cluster.node_side.plugin_dir, plugin.resource, make_devices("another", "d0", "d1")
    ).start()
    # The node's status is another check at admission; it must be of this kubelet.
    cluster.node.wait_allocatable(plugin.resource, 3)
    second = bound("second", asking(plugin, 1)).wait_running()
    assert second.held(resource=plugin.resource) == ["d1"]
    assert pod.inside().running
    successor.stop()


def test_the_stand_in_forgets_with_a_damaged_checkpoint_too():
    with tempfile.TemporaryDirectory(prefix="plb-") as folder:
        standin = Standin(Path(folder))
        plugin = BarePlugin(standin.folder, devices=make_devices("d0")).start()
        standin.wait_devices(plugin.resource, ["d0"])
        pod = Pod(name="p", containers=(Container(name="c", requests={plugin.resource: 1}),))
        standin.run(standin.kubelet.admit(pod))
        plugin.stop()
        standin.run(standin.kubelet.stop())
        (standin.folder / CHECKPOINT).write_text("{}")
        standin.run(standin.kubelet.start())

        assert [list(c.devices) for c in standin.pod_resources()["p"].containers] == [[]]
        standin.stop()


def test_without_its_checkpoint_a_kubelet_offers_what_the_node_had_and_has_nothing_to_give(
    cluster, bare
):
    plugin = bare("d0", "d1")
    cluster.node.wait_allocatable(plugin.resource, 2)
    plugin.stop()
    cluster.node.wait_allocatable(plugin.resource, 0)

    cluster.stop("kubelet")
    (cluster.node_side.plugin_dir / CHECKPOINT).unlink()
    cluster.start("kubelet")

    cluster.node.wait_allocatable(plugin.resource, 2)
    pod = cluster.pod("hopeful", resources={plugin.resource: 2}).wait_running()
    assert pod.held(resource=plugin.resource) == []
    assert plugin.count(rpc.ALLOCATE) == 0


def test_a_pod_that_ended_is_in_no_list_of_what_pods_hold(cluster, bare, bound):
    plugin = bare("d0")

    pod = bound("brief", asking(plugin, 1, command=["/bin/true"])).wait_done()

    assert pod.name not in cluster.node.pod_resources()
    assert plugin.count(rpc.ALLOCATE) == 1


# Places


def entries(cluster, resource):
    return sorted(
        (tuple(device.device_ids), tuple(node.ID for node in device.topology.nodes))
        for device in cluster.node.allocatable_resources().devices
        if device.resource_name == resource
    )


def test_a_device_of_two_numa_nodes_is_told_once_for_each(cluster, bare, bound):
    plugin = bare("d0", numa_nodes=(0, 1))

    pod = bound("p", asking(plugin, 1)).wait_running()

    assert entries(cluster, plugin.resource) == [(("d0",), (0,)), (("d0",), (1,))]
    assert pod.held(resource=plugin.resource) == ["d0", "d0"]


def test_a_device_with_a_place_that_is_nowhere_is_given_and_left_out_of_the_list(
    cluster, bare, bound
):
    """So that no device of ours says more than it knows: no topology, or one with nodes."""
    plugin = bare("d0")
    nowhere = api.Device(ID="d0", health="Healthy", topology=api.TopologyInfo())
    plugin.list_raw(api.ListAndWatchResponse(devices=[nowhere]))
    wait_healthy(cluster, plugin.resource, [])

    pod = bound("p", asking(plugin, 1)).wait_running()

    assert entries(cluster, plugin.resource) == []
    assert pod.held(resource=plugin.resource) == ["d0"]


# Slow


@pytest.mark.skipif(
    "PLUMBLINE_CLUSTER_LONG" not in os.environ,
    reason="takes five minutes: PLUMBLINE_CLUSTER_LONG=1",
)
@pytest.mark.timeout(GRACE_S + 120)
def test_five_minutes_after_its_plugin_a_resource_is_nothing(cluster, bare, bound):
    plugin = bare("d0", "d1")
    plugin.end_streams()
    cluster.node.wait_allocatable(plugin.resource, 0)
    ended = time.monotonic()

    def is_nothing(node):
        return node.status.capacity[plugin.resource] == "0"

    cluster.node.wait(is_nothing, why="capacity is not 0", timeout_s=GRACE_S + 60)

    assert time.monotonic() - ended > GRACE_S - 10
    assert cluster.node.allocatable[plugin.resource] == "0"
    pod = bound("late", asking(plugin, 1))
    assert pod.wait_rejected() == f"OutOf{plugin.resource}"
