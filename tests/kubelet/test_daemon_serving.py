"""`plumbline run` against a kubelet: registration, allocation, shutdown."""

import asyncio
import json
import signal

import pytest
from daemon_process import GPU, simulated_node

from deviceplugin.standin.admission import TopologyRules
from deviceplugin.standin.numa import Numa, Policy
from deviceplugin.standin.pods import AdmissionFailed

TWO_NODES = TopologyRules(numa=Numa(nodes=(0, 1)), policy=Policy.BEST_EFFORT)


async def test_eight_gpus_arrive_with_their_numa_nodes():
    async with simulated_node() as node:
        await node.serving()
        devices = await node.kubelet.devices(GPU)

        assert sorted(d.numa_nodes for d in devices.values()) == [(0,)] * 4 + [(1,)] * 4
        assert all(d.healthy for d in devices.values())
        assert set(devices) == {node.uuid(i) for i in range(8)}


async def test_pods_of_one_two_and_four_stay_on_one_socket():
    async with simulated_node(rules=TWO_NODES) as node:
        await node.serving()
        socket = {node.uuid(i): i // 4 for i in range(8)}

        pair, _ = await node.admit("pair", 2)
        single, _ = await node.admit("single", 1)
        half, _ = await node.admit("half", 4)

        assert len({socket[id_] for id_ in pair}) == 1
        assert {socket[id_] for id_ in single} == {socket[pair[0]]}
        assert len({socket[id_] for id_ in half}) == 1
        with pytest.raises(AdmissionFailed):
            await node.admit("too-many", 2)


async def test_an_allocation_names_the_gpus():
    async with simulated_node() as node:
        await node.serving()
        ids, allocation = await node.admit("pod", 2)

        assert sorted(allocation.envs["NVIDIA_VISIBLE_DEVICES"].split(",")) == ids
        assert not allocation.device_nodes


async def test_cdi_names_resolve_in_the_specification_written_before():
    async with simulated_node() as node:
        await node.serving("--device-list-strategy", "cdi-cri,cdi-annotations")
        ids, allocation = await node.admit("pod", 2)
        folder = node.machine / "var/run/cdi"
        document = json.loads((folder / "k8s.device-plugin.nvidia.com-gpu.json").read_text())

        named = {f"{document['kind']}={device['name']}" for device in document["devices"]}
        assert set(allocation.cdi_devices) <= named
        assert {name.partition("=")[2] for name in allocation.cdi_devices} == set(ids)
        assert list(allocation.annotations.values()) == [",".join(allocation.cdi_devices)]
        nodes = {
            device["name"]: [n["hostPath"] for n in device["containerEdits"]["deviceNodes"]]
            for device in document["devices"]
        }
        assert f"{node.machine}/dev/nvidia0" in nodes[node.uuid(0)]


async def test_device_nodes_are_passed_on_request():
    async with simulated_node() as node:
        await node.serving("--pass-device-specs")
        _, allocation = await node.admit("pod", 8)

        paths = {n.container_path: n.host_path for n in allocation.device_nodes}
        assert {f"/dev/nvidia{i}" for i in range(8)} <= set(paths)
        assert "/dev/nvidiactl" in paths
        assert all(host == f"{node.machine}{path}" for path, host in paths.items())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_a_stop_ends_the_stream_and_removes_the_socket(number):
    async with simulated_node() as node:
        process = await node.serving()
        process.send_signal(number)

        assert await asyncio.wait_for(process.wait(), 10) == 0
        await node.kubelet.disconnected(GPU)
        assert (node.kubelet.allocatable, node.kubelet.capacity) == ({GPU: 0}, {GPU: 8})
        assert list(node.kubelet.directory.glob("nvidia-*")) == []


async def test_a_killed_instance_is_no_obstacle():
    async with simulated_node() as node:
        first = await node.serving()
        first.kill()
        await first.wait()
        await node.kubelet.disconnected(GPU)

        await node.serving()

        assert len((await node.admit("pod", 8))[0]) == 8


async def test_without_a_driver_it_says_so_and_exits_3():
    async with simulated_node() as node:
        (node.machine / "lib/libnvidia-ml.so.1").unlink()
        process = await node.start()

        assert await process.wait() == 3
        assert "no NVIDIA driver library" in node.log.read_text()
        assert "look_abandoned" not in node.log.read_text()
        assert list(node.kubelet.directory.glob("nvidia-*")) == []


async def test_without_a_driver_it_waits_when_told_to():
    async with simulated_node() as node:
        library = node.machine / "lib/libnvidia-ml.so.1"
        hidden = library.rename(library.with_suffix(".hidden"))
        process = await node.start("--fail-on-init-error=false")
        await node.logged("driver_unreachable")
        hidden.rename(library)

        await node.kubelet.devices(GPU, lambda now: len(now) == 8, timeout_s=20)
        assert await node.stop(process) == 0
