"""Why a device never leaves the list at once: what a kubelet does that is about to note it."""

import contextlib
import itertools
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import grpc
import pytest
from testbed.pods import GPU

from deviceplugin import rpc, wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.values import ContainerAllocation, Device

# A name of its own for every plugin: what the node's status says of one is never of another.
NAMES = (f"plumbline.test/thing-{number}" for number in itertools.count())
DEVICES = tuple(Device(id=id_, healthy=True) for id_ in ("t0", "t1"))


class BarePlugin:
    """The least that a kubelet takes for a device plugin; its list changes inside Allocate."""

    def __init__(self, cluster, shrinks_to):
        self._directory = cluster.node_side.kubelet_dir / "device-plugins"
        self._shrinks_to = shrinks_to
        self.resource = next(NAMES)
        self._lists = Queue()
        self._lists.put(DEVICES)

    def list_and_watch(self, _request, _context):
        while (devices := self._lists.get()) is not None:
            yield wire.device_list(devices)

    def _known(self):
        """Return the devices that the kubelet has written down as healthy."""
        checkpoint = json.loads((self._directory / "kubelet_internal_checkpoint").read_text())
        return set(checkpoint["Data"]["RegisteredDevices"].get(self.resource) or ())

    def allocate(self, request, _context):
        self._lists.put(self._shrinks_to)
        healthy = {device.id for device in self._shrinks_to if device.healthy}
        deadline = time.monotonic() + 10
        while self._known() != healthy and time.monotonic() < deadline:
            time.sleep(0.01)  # the kubelet's own file is all that tells what it has read
        return wire.allocate_answer([ContainerAllocation() for _ in request.container_requests])

    @contextlib.contextmanager
    def served(self):
        socket = self._directory / "bare.sock"
        with ThreadPoolExecutor() as pool:
            server = grpc.server(pool)
            rpc.serve_plugin(server, self._handlers())
            server.add_insecure_port(f"unix:{socket}")
            server.start()
            self._register(socket.name)
            try:
                yield
            finally:
                self._lists.put(None)
                server.stop(0).wait()
                socket.unlink(missing_ok=True)

    def _handlers(self):
        def unary(method, answer):
            return grpc.unary_unary_rpc_method_handler(
                answer,
                request_deserializer=method.request.FromString,
                response_serializer=method.answer.SerializeToString,
            )

        return {
            rpc.OPTIONS: unary(rpc.OPTIONS, lambda *_: api.DevicePluginOptions()),
            rpc.ALLOCATE: unary(rpc.ALLOCATE, self.allocate),
            rpc.LIST_AND_WATCH: grpc.unary_stream_rpc_method_handler(
                self.list_and_watch,
                request_deserializer=api.Empty.FromString,
                response_serializer=api.ListAndWatchResponse.SerializeToString,
            ),
        }

    def _register(self, endpoint):
        request = api.RegisterRequest(
            version="v1beta1", endpoint=endpoint, resource_name=self.resource
        )
        with grpc.insecure_channel(f"unix:{self._directory}/kubelet.sock") as channel:
            channel.unary_unary(
                rpc.REGISTER.path,
                request_serializer=api.RegisterRequest.SerializeToString,
                response_deserializer=api.Empty.FromString,
            )(request, timeout=20, wait_for_ready=True)


@pytest.mark.parametrize("left", [(), DEVICES[:1]], ids=["none", "another"])
def test_a_kubelet_dies_when_a_device_leaves_the_list_during_its_allocate(cluster, left):
    plugin = BarePlugin(cluster, shrinks_to=left)
    with plugin.served():
        cluster.node.wait_allocatable(plugin.resource, 2)
        kubelet = cluster.process("kubelet")
        cluster.pod("p", resources={plugin.resource: 2})
        exit_code = kubelet.wait(20)

    # A fault of the kubelet's, present in every version we support: were it mended, Offer's
    # way of letting devices go could go too.
    assert exit_code == 2
    assert "nil pointer dereference" in kubelet.log.read_text()


def test_a_kubelet_lives_when_a_device_becomes_unhealthy_during_its_allocate(cluster):
    unhealthy = tuple(Device(id=each.id, healthy=False) for each in DEVICES)
    plugin = BarePlugin(cluster, shrinks_to=unhealthy)
    with plugin.served():
        cluster.node.wait_allocatable(plugin.resource, 2)
        pod = cluster.pod("p", resources={plugin.resource: 2}).wait_running()

        assert pod.held(resource=plugin.resource) == ["t0", "t1"]
    assert cluster.process("kubelet").running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_end_of_the_agent_while_pods_are_admitted_hurts_the_kubelet(cluster, number):
    cluster.serve("--device-list-strategy=cdi-cri")
    kubelet = cluster.process("kubelet").pid

    for turn in range(6):
        pods = [cluster.pod(f"p{turn}-{n}", gpus=1) for n in range(4)]
        cluster.agent.restart(number)
        for pod in pods:
            pod.wait(lambda now: now.status.phase in ("Running", "Failed"), why="decided")
        cluster.delete_pods()
        cluster.node.wait_allocatable(GPU, 8)

    assert (cluster.process("kubelet").running, cluster.process("kubelet").pid) == (True, kubelet)
