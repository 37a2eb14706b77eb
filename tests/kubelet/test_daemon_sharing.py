"""Devices that containers share by taking turns, as the kubelet is offered them."""

import asyncio

import grpc.aio
import pytest
import yaml
from daemon_process import GPU, changed, simulated_node
from mig_machine import divide, instances

from agent.simulation import machines
from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.standin.pods import AdmissionFailed, Container, Pod

SHARED = "nvidia.com/gpu.shared"


def write_config(node, slicing=None, **flags):
    config = {"version": "v1", "flags": flags}
    if slicing is not None:
        config["sharing"] = {"timeSlicing": slicing}
    path = node.folder / "config.yaml"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(yaml.safe_dump(config))
    fresh.replace(path)
    return f"--config-file={path}"


def entry(devices="all", *, name="gpu", replicas=4, **more):
    return {"name": name, "replicas": replicas, "devices": devices, **more}


async def admit(node, resource, count=1, name="p"):
    await node.kubelet.devices(
        resource, lambda now: sum(d.healthy for d in now.values()) >= count, timeout_s=20
    )
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, sorted(allocated.device_ids), allocated.allocation


async def test_two_gpus_are_shared_and_the_others_given_whole():
    async with simulated_node() as node:
        slicing = {"renameByDefault": True, "resources": [entry([6, 7])]}
        await node.serving(write_config(node, slicing))

        whole = await node.kubelet.devices(GPU, lambda now: len(now) == 6)
        shares = await node.kubelet.devices(SHARED, lambda now: len(now) == 8)

        assert set(whole) == {node.uuid(i) for i in range(6)}
        assert set(shares) == {f"{node.uuid(i)}::{n}" for i in (6, 7) for n in range(4)}
        assert {each.numa_nodes for each in shares.values()} == {(1,)}


async def test_a_container_is_told_of_the_gpu_behind_its_shares_once():
    async with simulated_node() as node:
        await node.serving(write_config(node, {"resources": [entry([6])]}))
        # Seven whole ones and four shares: who asks for all of them gets each GPU once.
        _, given, told = await admit(node, GPU, count=11)

        assert len(given) == 11
        visible = told.envs["NVIDIA_VISIBLE_DEVICES"].split(",")
        assert sorted(visible) == sorted(node.uuid(i) for i in range(8))


async def test_shares_are_given_out_evenly():
    async with simulated_node() as node:
        slicing = {"renameByDefault": True, "resources": [entry([6, 7])]}
        await node.serving(write_config(node, slicing))

        given = [(await admit(node, SHARED, name=f"p{n}"))[1][0] for n in range(4)]

        behind = sorted(each.partition("::")[0] for each in given)
        assert behind == sorted([node.uuid(6), node.uuid(6), node.uuid(7), node.uuid(7)])


async def test_several_shares_are_refused_where_the_configuration_says_so():
    async with simulated_node() as node:
        slicing = {"failRequestsGreaterThanOne": True, "resources": [entry(rename="turns")]}
        await node.start(write_config(node, slicing))
        await node.kubelet.devices("nvidia.com/turns", lambda now: len(now) == 32)

        with pytest.raises(AdmissionFailed, match=r"asks for 2 of nvidia\.com/turns"):
            await admit(node, "nvidia.com/turns", count=2)
        await admit(node, "nvidia.com/turns", name="one")


async def test_a_refusal_can_be_read_however_many_shares_there_are():
    async with simulated_node() as node:
        await node.serving(write_config(node, {"resources": [entry(replicas=128)]}))
        await node.kubelet.devices(GPU, lambda now: len(now) == 1024)
        container = api.ContainerAllocateRequest(devices_ids=["GPU-of-another-node::3"])

        async with rpc.open_channel(node.kubelet.directory / "nvidia-gpu.sock") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match=r"::\d+ and 1008 more") as refused:
                await rpc.ALLOCATE.on(channel)(api.AllocateRequest(container_requests=[container]))

        assert "nvidia.com/gpu has no device GPU-of-another-node::3" in refused.value.details()


async def test_instances_are_shared_too():
    async with simulated_node() as node:
        divide(node.machine, 0, "9:2", "19:0")
        slicing = {"resources": [entry(["0:0"], name="mig-3g.40gb", replicas=2)]}
        await node.serving(write_config(node, slicing, migStrategy="mixed"))

        shares = await node.kubelet.devices("nvidia.com/mig-3g.40gb", lambda now: len(now) == 2)

        (uuid,) = (u for u, i in instances(node.machine, 0).items() if i["profile"] == "3g.40gb")
        assert set(shares) == {f"{uuid}::0", f"{uuid}::1"}
        _, _, told = await admit(node, "nvidia.com/mig-3g.40gb")
        assert told.envs["NVIDIA_VISIBLE_DEVICES"] == uuid


async def test_all_shares_follow_their_gpu_in_one_message():
    async with simulated_node() as node:
        await node.serving(write_config(node, {"resources": [entry()]}))
        await node.kubelet.devices(GPU, lambda now: len(now) == 32)
        machines.inject_xid(node.machine, "3", 79)

        await node.kubelet.devices(GPU, lambda now: not all(d.healthy for d in now.values()))
        now = await node.kubelet.devices(GPU)

        unhealthy = {id_ for id_, device in now.items() if not device.healthy}
        assert unhealthy == {f"{node.uuid(3)}::{n}" for n in range(4)}


async def test_what_fits_no_device_is_refused_at_the_start_with_what_is_there():
    async with simulated_node() as node:
        process = await node.start(write_config(node, {"resources": [entry([6, 9])]}))
        assert await asyncio.wait_for(process.wait(), 20) == 2
        said = node.log.read_text()
        assert "sharing.timeSlicing.resources[0].devices[1]: there is no device 9" in said


async def test_two_entries_for_one_gpu_are_refused():
    async with simulated_node() as node:
        slicing = {"resources": [entry([6]), entry([6, 7], replicas=2)]}
        process = await node.start(write_config(node, slicing))
        assert await asyncio.wait_for(process.wait(), 20) == 2
        assert "GPU 6 is shared by sharing.timeSlicing.resources[0] already" in (
            node.log.read_text()
        )


async def test_a_running_pod_keeps_its_whole_gpu_when_sharing_begins():
    async with simulated_node() as node:
        await node.serving(write_config(node))
        pod, (held,), _ = await admit(node, GPU)

        write_config(node, {"resources": [entry()]})
        now = await node.kubelet.devices(GPU, lambda now: len(now) == 33, timeout_s=20)

        # Listed as long as it is held, and none of its shares given away beside it.
        beside = {f"{held}::{n}" for n in range(4)}
        assert {id_ for id_, device in now.items() if not device.healthy} == {held, *beside}

        await node.kubelet.remove_pod(pod)
        now = await node.kubelet.devices(GPU, lambda now: len(now) == 32, timeout_s=20)
        await node.kubelet.devices(GPU, lambda now: all(d.healthy for d in now.values()))
        assert held not in now


async def test_running_pods_keep_their_shares_when_sharing_ends():
    async with simulated_node() as node:
        await node.serving(write_config(node, {"resources": [entry()]}))
        pod, (held,), _ = await admit(node, GPU)
        gpu = held.partition("::")[0]

        write_config(node)
        now = await node.kubelet.devices(GPU, lambda now: len(now) == 9, timeout_s=20)
        assert {id_ for id_, device in now.items() if not device.healthy} == {gpu, held}

        await node.kubelet.remove_pod(pod)
        now = await node.kubelet.devices(GPU, lambda now: len(now) == 8, timeout_s=20)
        await node.kubelet.devices(GPU, lambda now: all(d.healthy for d in now.values()))
        assert gpu in now


async def test_a_changed_selection_that_fits_nothing_leaves_the_former_in_force():
    async with simulated_node() as node:
        await node.serving(write_config(node, {"resources": [entry([6])]}))
        await node.kubelet.devices(GPU, lambda now: len(now) == 11)

        write_config(node, {"resources": [entry([12])]})
        await node.logged("config_refused")

        now = await node.kubelet.devices(GPU)
        assert len(now) == 11
        write_config(node, {"resources": [entry([5])]})
        await changed(node.folder, lambda: True)
        await node.kubelet.devices(GPU, lambda now: f"{node.uuid(5)}::0" in now, timeout_s=20)
