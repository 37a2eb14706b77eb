"""Faults around a running daemon: what it must go on doing, and when it must end."""

import asyncio
import contextlib
import signal

import pynvml
import pytest
from daemon_process import GPU, changed, simulated_node

from agent.simulation import machines
from deviceplugin.standin.pods import AdmissionFailed

SOON_S = 6.0
SPEC = "var/run/cdi/k8s.device-plugin.nvidia.com-gpu.json"


async def test_a_gpu_that_comes_and_goes_during_looks_ends_nothing():
    async with simulated_node() as node:
        process = await node.serving()
        for _ in range(60):
            machines.lose(node.machine, "7", silently=True)
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0)
            machines.restore(node.machine, "7")
        # Given or refused, it is answered after the last of the signals, which forgives Xids.
        with contextlib.suppress(AdmissionFailed):
            await node.admit("after", 1)
        machines.inject_xid(node.machine, "2", 79)

        await node.kubelet.devices(GPU, lambda now: not now[node.uuid(2)].healthy, timeout_s=SOON_S)
        devices = await node.kubelet.devices(GPU)
        assert process.returncode is None
        assert {i for i in range(7) if not devices[node.uuid(i)].healthy} == {2}


STEADY_SOON = """
from agent.daemon import node

node.STEADY_S = 0.3
"""


async def test_a_gpu_that_left_is_trusted_again_once_it_has_been_back_for_a_while():
    async with simulated_node() as node:
        await node.serving(before=STEADY_SOON)
        # Its last word, and it is gone.
        machines.inject_xid(node.machine, "7", 79)
        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(7)}
        machines.lose(node.machine, "7", silently=True)
        async with asyncio.timeout(SOON_S):
            while "gpus=7" not in node.log.read_text():  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.05)
        machines.restore(node.machine, "7")

        await node.kubelet.devices(GPU, lambda now: now[node.uuid(7)].healthy, timeout_s=SOON_S)
        # What strikes one that stays is not forgotten.
        machines.inject_xid(node.machine, "2", 79)
        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(2)}


async def test_what_an_xid_marked_is_offered_again_when_somebody_says_so():
    async with simulated_node() as node:
        process = await node.serving()
        machines.inject_xid(node.machine, "2", 79)
        machines.lose(node.machine, "7", silently=True)
        marked = {node.uuid(2), node.uuid(7)}
        assert await node.unhealthy(2, timeout_s=SOON_S) == marked

        process.send_signal(signal.SIGHUP)

        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(7)}
        await node.logged("xids_forgiven")
        machines.inject_xid(node.machine, "2", 79)
        assert await node.unhealthy(2, timeout_s=SOON_S) == marked


LOST_BETWEEN = """
from agent.discovery import gpus
from agent.simulation import machines

read = gpus.read_gpus

def read_gpus():
    found = read()
    machines.lose(MACHINE, "7", silently=True)
    return found

gpus.read_gpus = read_gpus
"""


async def test_a_gpu_lost_between_two_questions_is_only_itself_unhealthy():
    async with simulated_node() as node:
        lost = f"MACHINE = __import__('pathlib').Path({str(node.machine)!r})\n{LOST_BETWEEN}"
        await node.serving(before=lost)

        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(7)}


@pytest.mark.parametrize("broken", ["cdi", "locality"])
async def test_a_lost_gpu_is_told_whatever_else_is_broken(broken):
    async with simulated_node() as node:
        process = await node.serving("--device-list-strategy", "cdi-cri")
        if broken == "cdi":
            folder = node.machine / "var/run/cdi"
            folder.rename(folder.with_name("cdi.away"))
            folder.write_text("in the way")
        else:
            file = node.machine / "etc/plumbline/locality.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("version: v1\nnonsense: 1\n")
        machines.lose(node.machine, "3", silently=True)

        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(3)}
        assert await node.stop(process) == 0


async def test_a_replaced_driver_ends_the_process_so_that_it_is_loaded_anew():
    async with simulated_node() as node:
        process = await node.serving()
        machines.create("dgx-a100", node.machine, force=True)

        assert await asyncio.wait_for(process.wait(), SOON_S) == 1
        assert "the driver library was replaced" in node.log.read_text().splitlines()[-1]
        await node.serving()
        devices = await node.kubelet.devices(GPU)
        assert set(devices) == {gpu.uuid for gpu in machines.look(node.machine).gpus}


async def test_a_driver_container_that_comes_later_is_found():
    async with simulated_node() as node:
        root = node.folder / "driver"
        root.mkdir()
        await node.start("--driver-root-ctr-path", str(root), "--fail-on-init-error=false")
        await node.logged("driver_unreachable")
        # A simulated machine has its library in lib/, as a driver root has it in usr/lib/.
        machines.create("t4-4x", root / "usr")

        devices = await node.kubelet.devices(GPU, lambda now: len(now) == 4, timeout_s=20)
        assert all(device.healthy for device in devices.values())


DRIVER_GOES = """
from agent.daemon import lookout

read = lookout.observe

def observe(session, **facts):
    if (session.machine.root / "gone").exists():
        raise lookout.HardwareError("the driver does not answer")
    return read(session, **facts)

lookout.observe = observe
"""


async def test_a_driver_that_stays_silent_takes_every_gpu_off_offer_until_it_is_back():
    async with simulated_node() as node:
        process = await node.serving(before=DRIVER_GOES)
        (node.machine / "gone").touch()
        process.send_signal(signal.SIGHUP)

        await node.unhealthy(8, timeout_s=15)
        (node.machine / "gone").unlink()
        process.send_signal(signal.SIGHUP)
        await node.unhealthy(0, timeout_s=SOON_S)
        assert node.kubelet.registrations == [GPU]


HANGS = """
import threading
from agent.daemon import lookout

read = lookout.observe

def observe(session, **facts):
    if (session.machine.root / "hang").exists():
        (session.machine.root / "hanging").touch()
        threading.Event().wait()
    return read(session, **facts)

lookout.observe = observe
"""


async def test_a_driver_that_hangs_holds_up_neither_allocations_nor_the_end():
    async with simulated_node() as node:
        process = await node.serving(before=HANGS)
        (node.machine / "hang").touch()
        process.send_signal(signal.SIGHUP)
        await changed(node.machine, (node.machine / "hanging").exists)

        assert len((await node.admit("pod", 2))[0]) == 2
        assert await node.stop(process, within_s=3) == 0


async def test_a_reload_changes_the_log_level():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\nplumbline: {log: {level: error}}\n")
        process = await node.serving("--config", str(config), env={"PLUMBLINE_LOG_LEVEL": ""})
        quiet = node.log.read_text()
        config.write_text("version: v1\nplumbline: {log: {level: debug}}\n")
        await node.logged("config_read")

        assert quiet == ""
        assert await node.stop(process) == 0


async def test_a_kubelet_directory_that_is_a_file_is_named():
    async with simulated_node(listening=False) as node:
        node.kubelet.directory.rmdir()
        node.kubelet.directory.write_text("")
        process = await node.start()

        assert await process.wait() == 1
        last = node.log.read_text().splitlines()[-1]
        assert last.startswith("error: ")
        assert str(node.kubelet.directory) in last
        node.kubelet.directory.unlink()


ONE_IS_NOT_HEARD = """
import pynvml

register = pynvml.nvmlDeviceRegisterEvents

def register_all_but_one(handle, types, events):
    if pynvml.nvmlDeviceGetIndex(handle) == 1:
        raise pynvml.NVMLError(CODE)
    return register(handle, types, events)

pynvml.nvmlDeviceRegisterEvents = register_all_but_one
"""


@pytest.mark.parametrize(
    ("code", "unhealthy"),
    [(pynvml.NVML_ERROR_UNKNOWN, {1}), (pynvml.NVML_ERROR_NOT_SUPPORTED, set())],
    ids=["unknown", "not-supported"],
)
async def test_a_gpu_whose_xids_cannot_be_heard_is_not_taken_for_sound(code, unhealthy):
    async with simulated_node() as node:
        await node.serving(before=f"CODE = {code}\n{ONE_IS_NOT_HEARD}")
        machines.inject_xid(node.machine, "2", 79)

        expected = {node.uuid(i) for i in unhealthy | {2}}
        assert await node.unhealthy(len(expected)) == expected
        assert "event=gpu_unwatched" in node.log.read_text()
