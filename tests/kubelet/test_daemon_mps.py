"""GPUs shared through MPS: daemons started, adopted and ended around running pods."""

import json

import mps_node as mps
import pytest
from daemon_process import GPU
from shared_node import SHARED, SHARED_BY_MPS, admit, entry, healthy, mps_node, until, write_config

from deviceplugin.standin.pods import AdmissionFailed


async def test_each_shared_gpu_has_a_daemon_that_knows_the_limits():
    async with mps_node() as node:
        await node.serving(write_config(node))
        await healthy(node)

        pipes = mps.daemons(node)
        assert len(pipes) == 2
        assert mps.compute_modes(node) == ["default"] * 6 + ["exclusive-process"] * 2
        for pipe in pipes:
            assert mps.told(node, pipe, "get_default_active_thread_percentage") == "25.0"
            # 46,068 MiB of an L40S, a quarter each.
            assert mps.told(node, pipe, "get_default_device_pinned_mem_limit 0") == "11517M"
        seen = {each.gpus for each in pipes.values()}
        assert seen == {node.uuid(6), node.uuid(7)}


async def test_a_container_is_told_how_to_reach_its_daemon_and_its_limits():
    async with mps_node() as node:
        await node.serving(write_config(node))
        await healthy(node)
        _, (device,), told = await admit(node)

        gpu = device.partition("::")[0]
        assert told.envs["NVIDIA_VISIBLE_DEVICES"] == gpu
        assert told.envs["CUDA_MPS_PIPE_DIRECTORY"] == "/mps/nvidia.com/gpu.shared/pipe"
        assert told.envs["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"
        assert told.envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=11517M"
        mounts = {each.container_path: each for each in told.mounts}
        pipe = mounts["/mps/nvidia.com/gpu.shared/pipe"]
        assert not pipe.read_only
        assert mps.daemons(node)[pipe.host_path].gpus == gpu
        assert mounts["/dev/shm"].host_path.startswith(str(node.machine / "dev/shm"))


async def test_through_cdi_a_container_gets_a_device_of_its_own_for_it():
    async with mps_node() as node:
        plugin = {"deviceListStrategy": "cdi-cri"}
        await node.serving(write_config(node, plugin=plugin))
        await healthy(node)
        _, (device,), told = await admit(node)

        gpu = device.partition("::")[0]
        vendor = "k8s.device-plugin.nvidia.com"
        assert told.cdi_devices == (f"{vendor}/gpu={gpu}", f"{vendor}/mps={gpu}")
        assert not told.mounts
        assert told.envs == {
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25",
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=11517M",
        }
        spec = json.loads((node.machine / f"var/run/cdi/{vendor}-mps.json").read_text())
        edits = {each["name"]: each["containerEdits"] for each in spec["devices"]}
        assert set(edits) == {node.uuid(6), node.uuid(7)}
        assert edits[gpu]["env"] == ["CUDA_MPS_PIPE_DIRECTORY=/mps/nvidia.com/gpu.shared/pipe"]
        (pipe, shm) = edits[gpu]["mounts"]
        assert mps.daemons(node)[pipe["hostPath"]].gpus == gpu
        assert shm["containerPath"] == "/dev/shm"


async def test_weights_decide_what_each_replica_gets():
    async with mps_node() as node:
        shares = {"resources": [entry([7], weights=[5, 3, 1, 1], rename="quarter")]}
        await node.serving(write_config(node, shares))
        await healthy(node, "nvidia.com/quarter", 4)

        given = {}
        for n in range(4):
            _, (device,), told = await admit(node, "nvidia.com/quarter", name=f"p{n}")
            given[device.partition("::")[2]] = (
                told.envs["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"],
                told.envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"],
            )

        assert given == {
            "0": ("50", "0=23034M"),
            "1": ("30", "0=13820M"),
            "2": ("10", "0=4606M"),
            "3": ("10", "0=4606M"),
        }
        (pipe,) = mps.daemons(node)
        assert mps.told(node, pipe, "get_default_active_thread_percentage") == "50.0"


async def test_a_container_gets_one_replica_unless_several_are_allowed_which_share_a_daemon():
    async with mps_node() as node:
        await node.serving(write_config(node))
        await healthy(node)
        with pytest.raises(AdmissionFailed, match="ask for 1"):
            await admit(node, count=2)

        several = SHARED_BY_MPS | {"failRequestsGreaterThanOne": False}
        write_config(node, several)
        await until(lambda: len(mps.daemons(node)) == 1)
        await healthy(node)
        _, devices, told = await admit(node, count=2)

        behind = {each.partition("::")[0] for each in devices}
        assert behind == {node.uuid(6), node.uuid(7)}
        assert told.envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=11517M,1=11517M"


async def test_sharing_that_ends_waits_for_the_pods_and_puts_everything_back():
    async with mps_node() as node:
        await node.serving(write_config(node))
        await healthy(node)
        pod, (device,), _ = await admit(node)
        gpu = device.partition("::")[0]

        write_config(node, None)
        await until(lambda: len(mps.daemons(node)) == 1)
        await healthy(node, GPU, 7)
        (daemon,) = mps.daemons(node).values()
        assert daemon.gpus == gpu
        assert sum(each == "exclusive-process" for each in mps.compute_modes(node)) == 1

        await node.kubelet.remove_pod(pod)
        await healthy(node, GPU, 8)
        assert mps.processes(node) == []
        assert set(mps.compute_modes(node)) == {"default"}
        assert not list((node.machine / "var/lib/plumbline/mps").iterdir())
        assert not list((node.machine / "run/nvidia/mps").rglob("control*"))


async def test_turns_become_mps_only_when_the_pods_that_take_turns_have_ended():
    async with mps_node() as node:
        turns = {"renameByDefault": True, "resources": [entry([6, 7])]}
        await node.serving(write_config(node, None, turns))
        await healthy(node)
        pod, (device,), _ = await admit(node)

        write_config(node)
        await healthy(node, SHARED, 4)
        (daemon,) = mps.daemons(node).values()
        assert daemon.gpus != device.partition("::")[0]

        await node.kubelet.remove_pod(pod)
        await healthy(node, SHARED, 8)
        assert len(mps.daemons(node)) == 2


async def test_a_change_of_mind_while_pods_are_waited_for_leaves_nothing_behind():
    async with mps_node() as node:
        one = {"renameByDefault": True, "resources": [entry([7])]}
        await node.serving(write_config(node, None, one))
        await healthy(node, SHARED, 4)
        await admit(node)
        write_config(node, one)
        await healthy(node, SHARED, 0)
        await until(lambda: "starts once these have ended" in node.log.read_text())

        write_config(node, None, one)
        await healthy(node, SHARED, 4)
        assert mps.processes(node) == []
        assert set(mps.compute_modes(node)) == {"default"}


async def test_an_agent_that_starts_anew_serves_from_the_daemons_that_there_are():
    async with mps_node() as node:
        flag = write_config(node)
        agent = await node.serving(flag)
        await healthy(node)
        before = {pipe: each.pid for pipe, each in mps.daemons(node).items()}
        assert await node.stop(agent) == 0
        assert {pipe: each.pid for pipe, each in mps.daemons(node).items()} == before

        heard = len(node.log.read_text())
        await node.serving(flag)
        await until(lambda: node.log.read_text()[heard:].count("event=mps_serving") == 2)
        assert {pipe: each.pid for pipe, each in mps.daemons(node).items()} == before
        offered = [
            line for line in node.log.read_text()[heard:].splitlines() if "event=snapshot" in line
        ]
        assert offered
        assert all("unhealthy=none" in line for line in offered)


async def test_under_selinux_containers_may_use_what_they_are_given():
    # Each in one write: daemons are started side by side.
    record = """
import os
os.setxattr = lambda *all: os.write(1, ("labelled %s %s %s\\n" % all).encode())
"""
    async with mps_node() as node:
        enforce = node.machine / "sys/fs/selinux/enforce"
        enforce.parent.mkdir(parents=True)
        enforce.write_text("1")
        await node.serving(write_config(node), before=record)
        await healthy(node)

        label = "security.selinux b'system_u:object_r:container_file_t:s0\\x00'"
        lines = [each for each in node.log.read_text().splitlines() if each.endswith(label)]
        paths = {line.split()[1] for line in lines}
        assert set(mps.daemons(node)) < paths
        assert len([path for path in paths if "/dev/shm/" in path]) == 2
