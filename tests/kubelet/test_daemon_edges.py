"""The edges of a daemon's life: what it finds at its start, and when it is told to end."""

import asyncio
import re
import signal
import time

import pytest
from daemon_process import GPU, simulated_node

from agent.simulation import machines
from deviceplugin.standin.pods import AdmissionFailed

# The promise is two seconds; a busy machine gets a few more before a test calls it broken.
SOON_S = 6.0
CDI = ("--device-list-strategy", "cdi-cri")


async def refused(node, *flags, **options):
    """Start a daemon that is to end by itself; return its exit code and its last words."""
    node.log.write_text("")
    process = await node.start(*flags, **options)
    code = await asyncio.wait_for(process.wait(), 20)
    text = node.log.read_text()
    assert "Traceback" not in text, text
    return code, text


def left_by_us(directory):
    kubelets = {"kubelet.sock", "kubelet_internal_checkpoint"}
    return {path.name for path in directory.iterdir()} - kubelets


async def test_a_kubelet_directory_made_later_is_served():
    async with simulated_node(listening=False) as node:
        node.kubelet.directory.rmdir()
        process = await node.start()
        await node.logged("snapshot")
        await node.logged("kubelet_absent")
        assert not node.kubelet.directory.exists()
        await node.kubelet.start()

        assert len(await node.kubelet.devices(GPU, timeout_s=SOON_S)) == 8
        assert process.returncode is None


READ_ONLY = """
import errno, os

real = os.open

def open_(path, flags, *rest, **options):
    if flags & os.O_CREAT and "/var/run/cdi/" in str(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    return real(path, flags, *rest, **options)

os.open = open_
"""


@pytest.mark.parametrize("fault", ["no folder", "below a file", "read-only"])
async def test_without_a_folder_for_cdi_it_says_what_to_do(fault):
    async with simulated_node() as node:
        folder = node.machine / "var/run/cdi"
        folder.parent.mkdir(parents=True, exist_ok=True)
        if fault == "no folder":
            folder.write_text("in the way")
        elif fault == "below a file":
            folder.parent.rmdir()
            folder.parent.write_text("in the way")
        else:
            folder.mkdir()
        code, text = await refused(node, *CDI, before=READ_ONLY if fault == "read-only" else "")

        assert code == 2, text
        last = text.splitlines()[-1]
        assert last.startswith(f"error: cannot write CDI specifications to {folder}: ")
        for advice in ("mount the folder writable", "--cdi-spec-dir", "strategy without CDI"):
            assert advice in last
        assert node.kubelet.registrations == []
        assert left_by_us(node.kubelet.directory) == set()


def publish(volume, number, text):
    """Write a ConfigMap volume as the kubelet does: a new folder, then a swap of ``..data``."""
    folder = volume / f"..{number}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(folder.name)
    (volume / "..data_tmp").rename(volume / "..data")


async def test_a_swapped_config_map_is_followed_each_time():
    async with simulated_node() as node:
        volume = node.folder / "config"
        publish(volume, 1, "version: v1\n")
        (volume / "config.yaml").symlink_to("..data/config.yaml")
        await node.serving("--config", str(volume / "config.yaml"))
        _, before = await node.admit("before", 1)
        assert before.envs["NVIDIA_VISIBLE_DEVICES"].startswith("GPU-")

        for number, strategy, form in ((2, "index", r"[0-7]"), (3, "uuid", r"GPU-.+")):
            node.log.write_text("")
            publish(
                volume,
                number,
                f"version: v1\nflags: {{plugin: {{deviceIDStrategy: {strategy}}}}}\n",
            )
            async with asyncio.timeout(SOON_S):
                await node.logged("snapshot")
            _, after = await node.admit(f"after-{number}", 1)
            assert re.fullmatch(form, after.envs["NVIDIA_VISIBLE_DEVICES"])
        assert node.kubelet.registrations == [GPU]


STRUCK = """
import os, pkgutil, signal, time
from pathlib import Path

def strike(*arguments):
    if {argument!r} in (None, *arguments[:1]) and not Path({mark!r}).exists():
        Path({mark!r}).write_text(str(time.monotonic()))
        os.kill(os.getpid(), signal.SIGTERM)

owner, _, name = {function!r}.rpartition(".")
owner = pkgutil.resolve_name(owner)
real = getattr(owner, name)

def struck(*arguments, **options):
    strike(*arguments)
    return real(*arguments, **options)

setattr(owner, name, struck)
"""

# (the function before which SIGTERM comes, its first argument where that matters)
UNTOUCHED = (
    ("agent.config.flags.resolve", None),
    ("agent.daemon.run.Daemon", None),
    ("agent.daemon.run.Daemon._take_signals", None),
)
# While the node is read for the first time, or just before.
READING = (
    ("agent.telemetry.logs.event", "starting"),
    ("deviceplugin.lock.DirectoryLock.hold", None),
    ("agent.daemon.lookout.observe", None),
)
SERVING = (
    ("agent.serving.cdi_files.publish", None),
    ("deviceplugin.sockets.identify_socket", None),
    ("agent.telemetry.logs.event", "registered"),
    ("agent.telemetry.logs.event", "devices_sent"),
)


async def struck(node, function, argument):
    """Start a daemon that gets SIGTERM at a moment; return its exit code."""
    mark = node.folder / "struck"
    mark.unlink(missing_ok=True)
    before = STRUCK.format(function=function, argument=argument, mark=str(mark))
    node.log.write_text("")
    process = await node.start(*CDI, before=before)
    code = await asyncio.wait_for(process.wait(), 20)
    took_s = time.monotonic() - float(mark.read_text())
    assert took_s < 2, f"{function} {argument}: {took_s} s"
    return code


async def test_a_stop_before_anything_is_touched_leaves_nothing():
    async with simulated_node() as node:
        process = await node.start(*CDI)
        assert await node.stop(process) in {0, -signal.SIGTERM}
        for moment in UNTOUCHED:
            assert await struck(node, *moment) in {0, -signal.SIGTERM}, moment

            assert left_by_us(node.kubelet.directory) == set()
            assert not (node.machine / "var/run/cdi").exists()
            assert "Traceback" not in node.log.read_text()
            assert "event=" not in node.log.read_text()
        assert node.kubelet.registrations == []


@pytest.mark.parametrize(
    "moments",
    [READING, SERVING],
    ids=["reading", "serving"],
)
async def test_a_stop_at_any_moment_of_the_start_hinders_no_later_start(moments):
    async with simulated_node() as node:
        for moment in moments:
            assert await struck(node, *moment) == 0, (moment, node.log.read_text())

            assert left_by_us(node.kubelet.directory) == set(), moment
            assert "Traceback" not in node.log.read_text()
        await node.serving(*CDI)

        assert len((await node.admit("pod", 8))[0]) == 8


READS_ON = """
import os, signal
from agent import _native

real = _native.read_system

def read_system(root):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        real(root)

_native.read_system = read_system
"""


async def test_a_stop_amid_a_long_look_is_a_clean_end():
    async with simulated_node() as node:
        process = await node.start(before=READS_ON)

        assert await asyncio.wait_for(process.wait(), 20) == 0, node.log.read_text()
        assert left_by_us(node.kubelet.directory) == set()


async def test_a_kubelet_that_does_not_answer_holds_up_no_stop():
    async with simulated_node() as node:
        node.kubelet.conduct.hang = True
        process = await node.start()
        await node.kubelet.called(GPU, timeout_s=20)

        assert await node.stop(process) == 0
        assert left_by_us(node.kubelet.directory) == set()


@pytest.mark.parametrize("silently", [False, True])
async def test_a_node_that_lost_every_gpu_offers_none(silently):
    async with simulated_node() as node:
        process = await node.serving()
        for index in range(8):
            machines.lose(node.machine, str(index), silently=silently)

        assert await node.unhealthy(8, timeout_s=SOON_S) == {node.uuid(i) for i in range(8)}
        with pytest.raises(AdmissionFailed):
            await node.admit("pod", 1)
        assert node.kubelet.allocatable == {GPU: 0}
        assert node.kubelet.registrations == [GPU]
        assert process.returncode is None


async def test_gpus_lost_before_the_start_are_offered_when_they_are_back():
    async with simulated_node() as node:
        for index in range(8):
            machines.lose(node.machine, str(index), silently=True)
        process = await node.start()
        await node.logged("snapshot")
        await node.kubelet.devices(GPU, lambda now: not now, timeout_s=SOON_S)
        assert node.kubelet.capacity == {GPU: 0}
        for index in range(8):
            machines.restore(node.machine, str(index))

        devices = await node.kubelet.devices(GPU, lambda now: len(now) == 8, timeout_s=SOON_S)
        assert all(device.healthy for device in devices.values())
        assert node.kubelet.registrations == [GPU]
        assert process.returncode is None


BAD_INPUT = (
    (("--device-list-strategy", "cdi-cry"), {}, "did you mean 'cdi-cri'?"),
    (("--mig-stratgy", "none"), {}, "did you mean --mig-strategy?"),
    ((), {"DEVICE_ID_STRATEGY": "name"}, "environment variable DEVICE_ID_STRATEGY: "),
    ((), {"PLUMBLINE_HEALTH_POLL_SECONDS": "0"}, "a number of seconds from 0.1 to 3600"),
    (("--config", "/nonexistent.yaml"), {}, "correct --config-file (CONFIG_FILE)"),
    (("--machine", "/nonexistent"), {}, "make one with: plumbline machine create"),
)


def everything(folder):
    return {(path, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


async def test_bad_input_is_refused_before_anything_is_touched():
    async with simulated_node() as node:
        before = everything(node.machine) | everything(node.kubelet.directory)
        for flags, environment, told in BAD_INPUT:
            code, text = await refused(node, *flags, env=environment)

            assert code == 2, text
            assert text.startswith("error: ")
            assert told in text
        assert everything(node.machine) | everything(node.kubelet.directory) == before
        assert node.kubelet.calls == []


async def test_a_locality_file_wrong_from_the_start_is_refused():
    async with simulated_node() as node:
        file = node.folder / "machine/etc/plumbline/locality.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("version: v1\ndistances:\n- {devices: [a, b], distance: pxb}\n")
        code, text = await refused(node)

        assert code == 2, text
        assert f"error: {file}:3: distances[0].distance: 'pxb'" in text
        assert node.kubelet.registrations == []
        assert left_by_us(node.kubelet.directory) == set()


async def test_a_locality_file_that_was_named_must_exist():
    async with simulated_node() as node:
        process = await node.start("--locality-file", "/etc/plumbline/none.yaml")

        assert await process.wait() == 2
        assert "there is no such locality file" in node.log.read_text()
