"""GPUs shared through MPS: daemons started, watched, adopted and ended around running pods."""

import asyncio
import contextlib
import json
import os

import mps_node as mps
import pytest
import yaml
from daemon_process import GPU, simulated_node

from agent.simulation import machines
from deviceplugin.standin.pods import AdmissionFailed, Container, Pod

SHARED = "nvidia.com/gpu.shared"
SHARED_BY_MPS = {
    "renameByDefault": True,
    "resources": [{"name": "gpu", "replicas": 4, "devices": [6, 7]}],
}


@contextlib.asynccontextmanager
async def mps_node(profile="l40s-8x"):
    # Not in /dev/shm, which daemons have for themselves.
    async with simulated_node(profile, settled=True, memory=None) as node:
        try:
            yield node
        finally:
            mps.end_all(node)


def write_config(node, by_mps=SHARED_BY_MPS, turns=None, **flags):
    sharing = {"mps": by_mps} if by_mps else {"timeSlicing": turns} if turns else {}
    config = {"version": "v1", "flags": flags, "sharing": sharing}
    path = node.folder / "config.yaml"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(yaml.safe_dump(config))
    fresh.replace(path)
    return f"--config-file={path}"


def entry(devices="all", *, replicas=4, **more):
    return {"name": "gpu", "replicas": replicas, "devices": devices, **more}


async def healthy(node, resource=SHARED, count=8):
    return await node.kubelet.devices(
        resource,
        lambda now: sum(device.healthy for device in now.values()) == count,
        timeout_s=30,
    )


async def admit(node, resource=SHARED, count=1, name="p"):
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, sorted(allocated.device_ids), allocated.allocation


async def until(condition, timeout_s=30.0):
    """Wait for something outside of any process that could tell us."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.05)


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


async def test_a_daemon_that_is_killed_is_started_anew():
    async with mps_node() as node:
        await node.serving(write_config(node))
        await healthy(node)
        pipe, daemon = next(iter(mps.daemons(node).items()))

        daemon.process.kill()
        await until(lambda: pipe in mps.daemons(node) and mps.daemons(node)[pipe].pid != daemon.pid)
        await node.logged("mps_failed")
        await healthy(node)
        assert mps.told(node, pipe, "get_default_active_thread_percentage") == "25.0"
        assert mps.compute_modes(node)[6:] == ["exclusive-process"] * 2


IMPATIENT = """
import agent.daemon.mps_watch as watch, agent.daemon.shared_gpus as shared
import agent.partition.mps_daemon as daemon
watch.ASK_S = 0.2
daemon.ANSWER_S = daemon.END_S = 1.0
shared.POLL_S = 0.2
"""


async def test_a_daemon_that_hangs_is_started_anew():
    async with mps_node() as node:
        await node.serving(write_config(node), before=IMPATIENT)
        await healthy(node)
        pipe, daemon = next(iter(mps.daemons(node).items()))

        daemon.process.suspend()
        await healthy(node, SHARED, 4)
        await until(lambda: pipe in mps.daemons(node) and mps.daemons(node)[pipe].pid != daemon.pid)
        await healthy(node)


async def test_a_daemon_that_hangs_is_left_alone_while_a_pod_may_be_connected_to_its_server():
    async with mps_node() as node:
        await node.serving(write_config(node), before=IMPATIENT)
        await healthy(node)
        pod, (device,), told = await admit(node)
        pipe = next(
            each.host_path for each in told.mounts if each.container_path.startswith("/mps")
        )
        mps.told(node, pipe, "start_server -uid 0")
        daemon = mps.daemons(node)[pipe]
        (server,) = mps.servers(node)

        daemon.process.suspend()
        await healthy(node, SHARED, 4)
        await until(lambda: "once its clients have ended" in node.log.read_text())
        assert server.is_running()
        assert daemon.process.is_running()

        await node.kubelet.remove_pod(pod)
        await healthy(node, SHARED, 8)
        assert not server.is_running()
        assert device.partition("::")[0] == mps.daemons(node)[pipe].gpus


async def test_a_daemon_whose_folder_is_deleted_is_started_anew():
    async with mps_node() as node:
        await node.serving(write_config(node), before=IMPATIENT)
        await healthy(node)
        pipe, daemon = next(iter(mps.daemons(node).items()))

        for each in (*sorted((node.machine / pipe).iterdir()),):
            each.unlink()
        (node.machine / pipe).rmdir()
        await until(lambda: pipe in mps.daemons(node) and mps.daemons(node)[pipe].pid != daemon.pid)
        await healthy(node)
        assert mps.told(node, pipe, "get_default_active_thread_percentage") == "25.0"


# Every moment between two things that last: a file, a compute mode, a process, its limits.
MOMENTS = {
    "written down": "agent.partition.mps_sets.MpsSets.record",
    "exclusive": "agent.partition.mps_sets.MpsSets.take",
    "folders made": "agent.partition.mps_daemon.MpsDaemon._make_folders",
    "launched": "agent.partition.mps_daemon.subprocess.run",
    "answering": "agent.partition.mps_daemon.MpsDaemon.start",
    "limited": "agent.partition.mps_daemon.MpsDaemon.limit",
    "ended": "agent.partition.mps_daemon.MpsDaemon.end",
    "put back": "agent.partition.mps_sets.set_compute_mode",
}

DIE_AFTER = """
import os, pkgutil, signal
owner, _, name = {moment!r}.rpartition(".")
owner = pkgutil.resolve_name(owner)
call = getattr(owner, name)
def dying(*arguments, **more):
    call(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, dying)
"""


@pytest.mark.parametrize("moment", [each for each in MOMENTS if each not in {"ended", "put back"}])
async def test_an_agent_killed_while_it_starts_a_daemon_leaves_what_the_next_one_finishes(moment):
    async with mps_node() as node:
        flag = write_config(node)
        killed = await node.start(flag, before=DIE_AFTER.format(moment=MOMENTS[moment]))
        assert await asyncio.wait_for(killed.wait(), 30) == -9

        await node.serving(flag)
        await healthy(node)
        assert len(mps.daemons(node)) == 2
        assert mps.compute_modes(node) == ["default"] * 6 + ["exclusive-process"] * 2
        for pipe in mps.daemons(node):
            assert mps.told(node, pipe, "get_default_device_pinned_mem_limit 0") == "11517M"


@pytest.mark.parametrize("moment", ["written down", "exclusive", "launched", "answering"])
async def test_what_a_killed_agent_left_is_put_back_where_it_is_not_wanted_any_more(moment):
    async with mps_node() as node:
        killed = await node.start(
            write_config(node), before=DIE_AFTER.format(moment=MOMENTS[moment])
        )
        assert await asyncio.wait_for(killed.wait(), 30) == -9

        await node.serving(write_config(node, None))
        await healthy(node, GPU, 8)
        assert mps.processes(node) == []
        assert set(mps.compute_modes(node)) == {"default"}


@pytest.mark.parametrize("moment", ["ended", "put back"])
async def test_an_agent_killed_while_it_ends_a_daemon_leaves_what_the_next_one_finishes(moment):
    async with mps_node() as node:
        flag = write_config(node)
        agent = await node.serving(flag)
        await healthy(node)
        await node.stop(agent)

        write_config(node, None)
        killed = await node.start(flag, before=DIE_AFTER.format(moment=MOMENTS[moment]))
        assert await asyncio.wait_for(killed.wait(), 30) == -9
        await node.serving(flag)
        await healthy(node, GPU, 8)
        assert mps.processes(node) == []
        assert set(mps.compute_modes(node)) == {"default"}


async def test_a_program_at_work_on_the_gpu_is_waited_for():
    async with mps_node() as node:
        machines.occupy(node.machine, "7", 4711)
        await node.serving(write_config(node))
        await healthy(node, SHARED, 4)

        await until(lambda: "once these processes have ended: 4711" in node.log.read_text())
        assert mps.compute_modes(node)[7] == "default"
        machines.release(node.machine, "7", 4711)
        await healthy(node, SHARED, 8)


async def test_a_gpu_that_somebody_closed_to_computing_stays_closed():
    async with mps_node() as node:
        machines.change(node.machine, "7", {"compute_mode": "prohibited"})
        await node.serving(write_config(node))
        await healthy(node, SHARED, 4)

        await until(lambda: "has the compute mode PROHIBITED" in node.log.read_text())
        assert mps.compute_modes(node)[6:] == ["exclusive-process", "prohibited"]


async def test_a_record_that_cannot_be_read_costs_the_others_nothing_and_its_own_gpu_no_mode():
    async with mps_node() as node:
        flag = write_config(node)
        agent = await node.serving(flag)
        await healthy(node)
        assert await node.stop(agent) == 0
        (record,) = (node.machine / "var/lib/plumbline/mps").glob(
            f"*{node.uuid(7).split('-')[1]}.json"
        )
        said = record.read_text()
        record.write_text(said[:20])

        heard = len(node.log.read_text())
        await node.serving(flag)
        await until(lambda: "event=mps_refused" in node.log.read_text()[heard:])
        await healthy(node, SHARED, 4)
        assert record.read_text() == said[:20]
        assert f'event=mps_unknown error="{record}' in node.log.read_text()

        record.write_text(said)
        await healthy(node)
        write_config(node, None)
        await healthy(node, GPU, 8)
        assert set(mps.compute_modes(node)) == {"default"}


async def test_a_daemon_of_somebody_else_is_left_alone():
    async with mps_node() as node:
        pipe = node.machine / f"run/nvidia/mps/{SHARED}/{node.uuid(7).split('-')[1]}/pipe"
        pipe.mkdir(parents=True)
        foreign = await asyncio.create_subprocess_exec(
            node.machine / "usr/bin/nvidia-cuda-mps-control",
            "-f",
            env={**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(pipe)},
        )
        try:
            await until((pipe / "nvidia-cuda-mps-control.pid").exists)
            await node.serving(write_config(node))
            await healthy(node, SHARED, 4)

            await until(lambda: "another MPS daemon answers at" in node.log.read_text())
            assert mps.told(node, str(pipe), "get_default_active_thread_percentage") == "100.0"
        finally:
            foreign.kill()
            await foreign.wait()
        await healthy(node, SHARED, 8)


async def test_under_selinux_containers_may_use_what_they_are_given():
    record = """
import os
os.setxattr = lambda path, name, value: print("labelled", path, name, value, flush=True)
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


async def test_a_gpu_that_fell_off_the_bus_keeps_nobody_from_ending_the_sharing():
    async with mps_node() as node:
        await node.serving(write_config(node))
        await healthy(node)
        machines.lose(node.machine, "7")
        await healthy(node, SHARED, 4)

        write_config(node, None)
        await healthy(node, GPU, 7)
        await until(lambda: not mps.processes(node))
        await until(lambda: not list((node.machine / "var/lib/plumbline/mps").iterdir()))
        assert "event=compute_mode_lost" in node.log.read_text()
        assert mps.compute_modes(node)[6] == "default"


STUMBLE = """
import agent.daemon.shared_gpus as shared
plan = shared.plan_mps
def stumbling(*arguments):
    shared.plan_mps = plan
    raise RuntimeError("nobody thought of this")
shared.plan_mps = stumbling
shared.POLL_S = 0.2
"""


async def test_an_error_that_nobody_thought_of_ends_nothing():
    async with mps_node() as node:
        await node.serving(write_config(node), before=STUMBLE)
        await healthy(node)

        assert "RuntimeError: nobody thought of this" in node.log.read_text()
        assert len(mps.daemons(node)) == 2


async def test_a_set_that_cannot_be_taken_over_whole_is_not_taken_over_at_all():
    refuse = """
import agent.partition.mps_sets as sets
from agent.model.errors import HardwareError
set_mode = sets.set_compute_mode
def refusing(gpu, mode):
    if mode == sets.EXCLUSIVE and gpu == {gpu!r}:
        raise HardwareError("the driver does not want to")
    set_mode(gpu, mode)
sets.set_compute_mode = refusing
"""
    async with mps_node() as node:
        several = SHARED_BY_MPS | {"failRequestsGreaterThanOne": False}
        await node.serving(write_config(node, several), before=refuse.format(gpu=node.uuid(7)))
        await until(lambda: "event=mps_refused" in node.log.read_text())

        await until(lambda: set(mps.compute_modes(node)) == {"default"})
        assert not list((node.machine / "var/lib/plumbline/mps").iterdir())
        assert not mps.processes(node)
