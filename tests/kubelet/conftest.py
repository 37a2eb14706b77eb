"""The package and the stand-in in one process, over real unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from deviceplugin.delays import Timing
from deviceplugin.observer import Observer
from deviceplugin.plugins import DevicePlugins
from deviceplugin.pulse import Pulse
from deviceplugin.standin import Container, Kubelet, Pod
from deviceplugin.values import ContainerAllocation, Device

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


class Shelf:
    """A backend that gives what it is told to give."""

    def __init__(self):
        self.preferred = None
        self.given = ContainerAllocation()
        self.refusal = None
        self.asked = []
        self.allocated = []

    def prefer(self, resource, request):
        self.asked.append((resource, request))
        if isinstance(self.preferred, Exception):
            raise self.preferred
        return self.preferred if self.preferred is not None else request.available[: request.size]

    def allocate(self, resource, device_ids):
        if self.refusal is not None:
            raise self.refusal
        self.allocated.append((resource, frozenset(device_ids)))
        return self.given


class Notes(Observer):
    """Writes down every event as (name, arguments...); lets a test wait for one."""

    def __init__(self):
        self.events = []
        self._pulse = Pulse()

    def _note(self, *event):
        self.events.append(event)
        self._pulse.fire()

    def count(self, *event):
        return sum(noted[: len(event)] == event for noted in self.events)

    async def seen(self, *event, times=1, timeout_s=5.0):
        found = await self._pulse.until(lambda: self.count(*event) >= times, timeout_s=timeout_s)
        assert found, f"no {times} x {event} in {self.events}"

    def registered(self, resource):
        self._note("registered", resource)

    def register_failed(self, resource, reason):
        self._note("register_failed", resource, reason)

    def stream_opened(self, resource):
        self._note("stream_opened", resource)

    def stream_ended(self, resource):
        self._note("stream_ended", resource)

    def devices_sent(self, resource, *, healthy, total):
        self._note("devices_sent", resource, healthy, total)

    def withdrawn(self, resource):
        self._note("withdrawn", resource)

    def kubelet_absent(self):
        self._note("kubelet_absent")

    def kubelet_restarted(self):
        self._note("kubelet_restarted")

    def checkpoint_lost(self):
        self._note("checkpoint_lost")

    def own_socket_lost(self, resource):
        self._note("own_socket_lost", resource)

    def preference_repaired(self, resource, reason):
        self._note("preference_repaired", resource, reason)

    def rpc_begin(self, call):
        self._note("rpc_begin", call.method, call)

    def rpc_end(self, call, *, error, duration_s):
        self._note("rpc_end", call.method, call, error, duration_s)


class Bench:
    """DevicePlugins running in the background, with everything around them."""

    def __init__(self, directory: Path, shelf: Shelf, notes: Notes):
        self.directory = directory
        self.shelf = shelf
        self.notes = notes
        self.plugins = None
        self.task = None

    def run(self, catalog, *, timing=None):
        self.plugins = DevicePlugins(
            kubelet_dir=self.directory,
            backend=self.shelf,
            observer=self.notes,
            timing=timing or Timing(quiet_s=0.05),
        )
        self.plugins.offer(catalog)
        self.task = asyncio.create_task(self.plugins.run())
        return self.plugins

    async def end(self):
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task


def make_devices(*ids: str, healthy=True, numa=()) -> Sequence[Device]:
    return [Device(id=id_, healthy=healthy, numa_nodes=numa) for id_ in ids]


@pytest.fixture
def devices():
    return make_devices


@pytest.fixture
def pod():
    def make(name="p", *, init=None, **requests_by_container):
        containers = tuple(Container(name=c, requests=r) for c, r in requests_by_container.items())
        inits = tuple(Container(name=c, requests=r) for c, r in (init or {}).items())
        return Pod(name=name, containers=containers, init_containers=inits)

    return make


@pytest.fixture
def directory():
    # Not tmp_path: its length may exceed what fits into a socket address.
    root = Path(tempfile.mkdtemp(prefix="plk-"))
    yield root / "device-plugins"
    shutil.rmtree(root)


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
async def nothing_left_running():
    """Fails a test that leaves tasks behind; torn down after everything that depends on it."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def bench(nothing_left_running, directory, shelf, notes):
    bench = Bench(directory, shelf, notes)
    yield bench
    await bench.end()


@pytest.fixture
async def kubelet(nothing_left_running, directory):
    async with Kubelet(directory) as kubelet:
        yield kubelet
