"""What goes wrong around GPUs shared through MPS, and how the daemon goes on."""

import asyncio
import os

import mps_node as mps
import pytest
from daemon_process import GPU
from shared_node import SHARED, SHARED_BY_MPS, admit, healthy, mps_node, until, write_config

from agent.simulation import machines


async def test_a_daemon_that_is_killed_is_started_anew():
    async with mps_node() as node:
        await node.serving(write_config(node))
        await healthy(node)
        pipe, daemon = next(iter(mps.daemons(node).items()))

        daemon.process.kill()
        await until(lambda: mps.is_replaced(node, pipe, daemon))
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
        await until(lambda: mps.is_replaced(node, pipe, daemon))
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
        await until(lambda: mps.is_replaced(node, pipe, daemon))
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
