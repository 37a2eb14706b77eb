import asyncio
import contextlib
import os
import signal
import sys

import pytest

from deviceplugin.errors import DirectoryHeld
from deviceplugin.observer import Observer
from deviceplugin.plugins import DevicePlugins

GPU = "nvidia.com/gpu"

HOLDER = """
import asyncio, sys
from pathlib import Path
from deviceplugin.observer import Observer
from deviceplugin.plugins import DevicePlugins
from deviceplugin.values import ContainerAllocation, Device

class Backend:
    def prefer(self, resource, request): return request.available[:request.size]
    def allocate(self, resource, ids): return ContainerAllocation()

class Say(Observer):
    def devices_sent(self, resource, *, healthy, total): print("serving", flush=True)

plugins = DevicePlugins(kubelet_dir=Path(sys.argv[1]), backend=Backend(), observer=Say())
plugins.offer({"nvidia.com/gpu": [Device(id="of the other", healthy=True)]})
asyncio.run(plugins.run())
"""


@pytest.fixture
async def holder(kubelet):
    """Another process that serves the directory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(kubelet.directory), "--some-flag"),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"serving\n"
    yield process
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


async def test_a_second_instance_is_told_who_serves_the_directory(holder, kubelet, shelf, devices):
    second = DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf)
    second.offer({GPU: devices("mine")})

    with pytest.raises(DirectoryHeld) as held:
        await second.run()

    assert held.value.directory == kubelet.directory
    assert held.value.holder.pid == holder.pid
    assert held.value.holder.host == os.uname().nodename
    assert held.value.holder.command.endswith("--some-flag")
    assert str(kubelet.directory) in str(held.value)
    assert f"pid {holder.pid} on " in str(held.value)
    assert kubelet.registrations == [GPU]


async def test_a_killed_holder_is_no_obstacle(holder, bench, kubelet, devices):
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    assert (kubelet.directory / ".plumbline.lock").exists()
    (stale,) = [path for path in kubelet.directory.glob("nvidia-gpu.sock") if path.is_socket()]

    bench.run({GPU: devices("mine")})
    await kubelet.devices(GPU, lambda known: [*known] == ["mine"])

    assert stale.is_socket()


async def test_the_directory_stays_held_when_a_kubelet_empties_it(
    bench, kubelet, shelf, devices, notes
):
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    (kubelet.directory / ".plumbline.lock").unlink()

    with pytest.raises(DirectoryHeld):
        await DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf).run()

    await kubelet.restart()
    await kubelet.devices(GPU)
    with pytest.raises(DirectoryHeld, match=f"pid {os.getpid()} on "):
        await DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf).run()


async def test_a_lock_file_that_says_nothing_names_nobody(bench, kubelet, shelf, devices):
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    (kubelet.directory / ".plumbline.lock").write_text("{")

    with pytest.raises(DirectoryHeld, match="another instance that left no name") as held:
        await DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf).run()

    assert held.value.holder is None


async def test_a_directory_taken_while_it_was_away_ends_the_run(
    bench, kubelet, devices, notes, shelf
):
    """The directory is replaced by one that another instance already serves."""
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    elsewhere = kubelet.directory.with_name("other")
    elsewhere.mkdir()
    other = DevicePlugins(kubelet_dir=elsewhere, backend=shelf)
    other_run = asyncio.create_task(other.run())
    await asyncio.sleep(0)
    assert (elsewhere / ".plumbline.lock").exists()

    kubelet.directory.rename(kubelet.directory.with_name("gone"))
    elsewhere.rename(kubelet.directory)

    async with asyncio.timeout(5):
        with pytest.raises(DirectoryHeld):
            await bench.task
    bench.task = None
    other_run.cancel()
    await asyncio.gather(other_run, return_exceptions=True)


async def test_the_second_may_start_when_the_first_is_done(bench, kubelet, devices, shelf):
    first = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    await first.close()

    second = DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf)
    second.offer({GPU: devices("g1")})
    running = asyncio.create_task(second.run())
    await kubelet.devices(GPU, lambda known: [*known] == ["g1"])
    await second.close()
    await running


class Told(Observer):
    """Counts who was said to hold the directory."""

    def __init__(self):
        self.holders = asyncio.Queue()

    def directory_held(self, holder):
        self.holders.put_nowait(holder)


async def test_taking_waits_for_the_holders_end(holder, kubelet, shelf, devices):
    told = Told()
    second = DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf, observer=told)
    second.offer({GPU: devices("mine")})
    taking = asyncio.create_task(second.take())
    assert (await told.holders.get()).pid == holder.pid
    assert not taking.done()

    holder.send_signal(signal.SIGKILL)
    async with asyncio.timeout(5):
        await taking
    running = asyncio.create_task(second.run())
    await kubelet.devices(GPU, lambda known: [*known] == ["mine"])
    await second.close()
    await running
    assert told.holders.empty()


async def test_taking_follows_a_directory_that_is_replaced_under_its_holder(
    bench, kubelet, shelf, devices, notes
):
    first = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    told = Told()
    second = DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf, observer=told)
    taking = asyncio.create_task(second.take())
    before = await told.holders.get()

    kubelet.directory.rename(kubelet.directory.with_name("gone"))
    kubelet.directory.mkdir()
    await kubelet.restart()
    await kubelet.registered(GPU, times=2)
    assert not taking.done()
    assert before.pid == os.getpid()

    await first.close()
    async with asyncio.timeout(5):
        await taking
    await second.close()
    assert not (kubelet.directory / ".plumbline.lock").exists()


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_waiting_may_be_given_up(bench, kubelet, shelf, devices, end):
    first = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    told = Told()
    second = DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf, observer=told)
    taking = asyncio.create_task(second.take())
    await told.holders.get()
    if end == "cancelled":
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
    else:
        await second.close()
    await first.close()
    if end == "closed":
        async with asyncio.timeout(5):
            await taking

    third = DevicePlugins(kubelet_dir=kubelet.directory, backend=shelf)
    async with asyncio.timeout(5):
        await third.take()
    assert (kubelet.directory / ".plumbline.lock").exists()
    await third.close()
    assert not (kubelet.directory / ".plumbline.lock").exists()
