"""What happens to a running daemon, and the state it must lead to within two seconds."""

import asyncio
import json
import signal

import pytest
from daemon_process import GPU, changed, simulated_node

from agent.simulation import machines

# The promise is two seconds; a busy machine gets a few more before a test calls it broken.
SOON_S = 6.0


async def test_a_restarted_kubelet_gets_its_devices_back():
    async with simulated_node() as node:
        process = await node.serving()
        held, _ = await node.admit("survivor", 2)
        for times in (2, 3):
            await node.kubelet.restart()
            await node.kubelet.registered(GPU, times=times, timeout_s=SOON_S)
            await node.kubelet.devices(GPU, lambda now: len(now) == 8, timeout_s=SOON_S)

        others, _ = await node.admit("newcomer", 6)
        assert not set(held) & set(others)
        assert process.returncode is None


async def test_a_kubelet_that_comes_later_is_found():
    async with simulated_node(listening=False) as node:
        await node.start()
        await node.kubelet.start()

        assert len(await node.kubelet.devices(GPU, timeout_s=20)) == 8


async def test_a_lost_socket_is_served_again():
    async with simulated_node() as node:
        await node.serving()
        (node.kubelet.directory / "nvidia-gpu.sock").unlink()

        await node.kubelet.registered(GPU, times=2, timeout_s=SOON_S)
        assert len(await node.kubelet.devices(GPU, timeout_s=SOON_S)) == 8


async def test_an_ended_stream_is_registered_again():
    async with simulated_node() as node:
        await node.serving()
        await node.kubelet.drop_streams(GPU)

        await node.kubelet.registered(GPU, times=2, timeout_s=SOON_S)
        assert len(await node.kubelet.devices(GPU, timeout_s=SOON_S)) == 8


async def test_an_xid_marks_one_gpu():
    async with simulated_node() as node:
        await node.serving()
        machines.inject_xid(node.machine, "3", 79)

        assert await node.unhealthy(1) == {node.uuid(3)}
        assert node.kubelet.registrations == [GPU]


async def test_an_ignored_xid_marks_nothing():
    async with simulated_node() as node:
        await node.serving(env={"DP_DISABLE_HEALTHCHECKS": "48"})
        for code in (13, 31, 43, 45, 48, 68, 109):
            machines.inject_xid(node.machine, "1", code)
        machines.inject_xid(node.machine, "2", 95)

        assert await node.unhealthy(1) == {node.uuid(2)}


XID_AFTER_READING = """
import subprocess, sys
from agent.daemon import lookout

read = lookout.observe

def observe(session, **facts):
    inventory = read(session, **facts)
    folder = str(session.machine.root)
    command = [sys.executable, "-m", "agent.cli.main", "machine", "xid", folder, "5", "48"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lookout.observe = read
    return inventory

lookout.observe = observe
"""


async def test_an_xid_between_the_first_look_and_the_first_list_is_not_missed():
    async with simulated_node() as node:
        await node.serving(before=XID_AFTER_READING)

        assert await node.unhealthy(1) == {node.uuid(5)}


@pytest.mark.parametrize("silently", [False, True])
async def test_a_lost_gpu_is_listed_as_unhealthy_and_the_others_serve(silently):
    async with simulated_node() as node:
        await node.serving()
        machines.lose(node.machine, "6", silently=silently)

        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(6)}
        assert node.uuid(6) not in (await node.admit("pod", 7))[0]
        assert node.kubelet.registrations == [GPU]


async def test_a_gpu_lost_before_the_start_affects_no_other():
    async with simulated_node() as node:
        machines.lose(node.machine, "0", silently=True)
        await node.serving()

        assert len(await node.kubelet.devices(GPU, lambda now: len(now) == 7)) == 7
        machines.restore(node.machine, "0")
        await node.kubelet.devices(GPU, lambda now: len(now) == 8, timeout_s=SOON_S)


async def test_a_changed_configuration_is_followed():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\n")
        await node.serving("--config", str(config))
        before, after = (await node.admit("before", 1))[1], None
        fresh = node.folder / "fresh.yaml"
        fresh.write_text("version: v1\nflags: {plugin: {deviceIDStrategy: index}}\n")
        fresh.rename(config)

        async with asyncio.timeout(SOON_S):
            number = 0
            while after is None or len(after.envs["NVIDIA_VISIBLE_DEVICES"]) > 1:
                number += 1
                _, after = await node.admit(f"after-{number}", 1)
                await node.kubelet.remove_pod(node.kubelet.pods[f"default/after-{number}"])
        assert before.envs["NVIDIA_VISIBLE_DEVICES"].startswith("GPU-")
        assert after.envs["NVIDIA_VISIBLE_DEVICES"] in "01234567"
        assert node.kubelet.registrations == [GPU]


async def test_a_bad_configuration_changes_nothing():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\n")
        process = await node.serving("--config", str(config))
        config.write_text("version: v1\nflags: {plugin: {deviceIdStrategy: index}}\n")
        process.send_signal(signal.SIGHUP)
        # Which forgives Xids.
        await node.logged("config_refused")
        machines.inject_xid(node.machine, "3", 79)
        await node.unhealthy(1)

        _, allocation = await node.admit("pod", 1)
        assert allocation.envs["NVIDIA_VISIBLE_DEVICES"].startswith("GPU-")
        assert "deviceIDStrategy" in node.log.read_text()
        assert process.returncode is None


async def test_a_hangup_reads_everything_again_and_disturbs_nobody():
    async with simulated_node() as node:
        process = await node.serving("--device-list-strategy", "cdi-cri")
        spec = node.machine / "var/run/cdi/k8s.device-plugin.nvidia.com-gpu.json"
        written = json.loads(spec.read_text())
        spec.unlink()
        process.send_signal(signal.SIGHUP)
        # Which forgives Xids.
        await node.logged("config_read")
        machines.inject_xid(node.machine, "1", 48)
        await node.unhealthy(1)

        await changed(spec.parent, spec.exists, timeout_s=SOON_S)
        assert json.loads(spec.read_text()) == written
        assert node.kubelet.registrations == [GPU]
