"""The publisher of slices between a kubelet that registers and an API server that answers."""

import asyncio
import contextlib
import threading

import pytest
from api_server import NODE, SLICES, ApiServer

from agent.cluster.access import from_kubeconfig
from agent.cluster.connection import Connection
from agent.cluster.slices import NodeSlices
from agent.daemon.slices import SlicePublisher
from agent.planning.dra_devices import DraDevice, Offering, WholeGpus

DRIVER = "gpu.nvidia.com"
GPU = DraDevice(name="gpu-0", subject=WholeGpus(gpus=("GPU-0",)), attributes={}, capacity={})
LOOKED_AROUND = [("GET", "/version"), ("GET", f"/api/v1/nodes/{NODE}")]


@pytest.fixture
def server():
    with contextlib.closing(ApiServer()) as server:
        yield server


@contextlib.asynccontextmanager
async def publishing(server, folder):
    connection = Connection(from_kubeconfig(server.kubeconfig(folder)))
    there = NodeSlices(NODE, (DRIVER,), lambda: None)
    there.begin(connection)
    server.requests.clear()
    publisher = SlicePublisher(
        connection,
        there,
        NODE,
        DRIVER,
        offering=lambda: Offering(devices=(GPU,)),
        taint_effect=lambda: "NoSchedule",
    )
    running = asyncio.create_task(publisher.run())
    yield publisher
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def asked(server):
    return [(method, path) for method, path, _ in server.requests]


def owners(server):
    return {
        owner["uid"]
        for each in server.slices.values()
        for owner in each["metadata"]["ownerReferences"]
    }


async def test_the_server_is_asked_at_once_and_written_to_when_the_kubelet_has_connected(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr("agent.daemon.slices.CONNECTED_S", 3600)
    async with publishing(server, tmp_path) as publisher:
        await asyncio.sleep(0)
        assert asked(server) == []

        publisher.registered()

        await asyncio.to_thread(server.until, lambda: asked(server) == LOOKED_AROUND)
        monkeypatch.setattr("agent.daemon.slices.CONNECTED_S", 0)
        assert server.slices == {}
        publisher.registered()
        await asyncio.to_thread(server.until, lambda: server.slices)
    assert asked(server) == [*LOOKED_AROUND, *LOOKED_AROUND, ("POST", SLICES)]


async def test_a_kubelet_that_registers_while_the_server_answers_makes_the_answer_void(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr("agent.daemon.slices.CONNECTED_S", 0)
    loop, has_registered = asyncio.get_running_loop(), threading.Event()
    node = server.object

    async with publishing(server, tmp_path) as publisher:

        def registered_anew():
            publisher.registered()
            has_registered.set()

        def node_that_is_replaced():
            found = node()
            if not has_registered.is_set():
                server.node["uid"] = "another"
                loop.call_soon_threadsafe(registered_anew)
                has_registered.wait(10)
            return found

        server.object = node_that_is_replaced
        publisher.registered()

        await asyncio.to_thread(server.until, lambda: server.slices)
    assert owners(server) == {"another"}
