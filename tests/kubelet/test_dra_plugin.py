"""A DRA driver as the kubelet meets it: registered by one socket, asked by another."""

import asyncio
import contextlib
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from deviceplugin import rpc
from deviceplugin._generated import dra_health_v1alpha1_pb2 as health_api
from deviceplugin._generated import dra_v1_pb2 as api
from deviceplugin._generated import pluginregistration_v1_pb2 as registration_api
from deviceplugin.dra import rpcs
from deviceplugin.dra.plugin import DraPlugin
from deviceplugin.dra.values import (
    DeviceHealth,
    HealthState,
    Prepared,
    PreparedDevice,
    Refused,
    Released,
)

DRIVER = "gpu.example.com"


class Backend:
    """Answers what it is told to."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        self.fails = None

    async def prepare(self, claims):
        self.asked += claims
        if self.fails:
            raise self.fails
        return self.answers

    async def unprepare(self, claims):
        self.asked += claims
        return {claim.uid: Released() for claim in claims}


def sockets(folder):
    return sorted(folder.rglob("*.sock"))


async def there(path):
    """Wait for a socket; a kubelet sees it by inotify."""
    async with asyncio.timeout(10):
        while path not in sockets(path.parent):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(backend, instance="pod-1"):
    folder = Path(tempfile.mkdtemp(prefix="pd-"))
    told = []
    plugin = DraPlugin(
        DRIVER, backend, kubelet_dir=folder, instance=instance, registered=told.append
    )
    task = asyncio.create_task(plugin.run())
    try:
        registry = folder / f"plugins_registry/{DRIVER}-{instance}-reg.sock"
        await there(registry)
        yield plugin, registry, told
    finally:
        await plugin.close()
        task.cancel()
        assert not sockets(folder)
        shutil.rmtree(folder)


async def info(registry):
    async with rpc.open_channel(registry) as channel:
        return await rpcs.GET_INFO.on(channel)(registration_api.InfoRequest())


async def test_the_kubelet_learns_where_the_driver_is_and_what_it_speaks():
    async with serving(Backend()) as (_, registry, told):
        found = await info(registry)

        assert (found.type, found.name) == ("DRAPlugin", DRIVER)
        assert list(found.supported_versions)[:2] == ["v1.DRAPlugin", "v1beta1.DRAPlugin"]
        assert Path(found.endpoint).name == "dra-pod-1.sock"
        async with rpc.open_channel(registry) as channel:
            notify = rpcs.NOTIFY.on(channel)
            await notify(registration_api.RegistrationStatus(plugin_registered=True))
            await notify(registration_api.RegistrationStatus(error="no such version"))
        assert told == [None, "no such version"]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_every_version_answers_claim_by_claim(version):
    backend = Backend()
    device = PreparedDevice(
        requests=("a",), pool="n", device="gpu-1", cdi_devices=("v/c=1",), share_id="s"
    )
    backend.answers = {"u1": Prepared(devices=(device,)), "u2": Refused(reason="held by x")}
    async with serving(backend) as (_, registry, _told):
        endpoint = Path((await info(registry)).endpoint)
        asked = [api.Claim(namespace="ns", name=f"c{n}", uid=f"u{n}") for n in (1, 2, 3)]
        async with rpc.open_channel(endpoint) as channel:
            prepare = rpcs.PREPARE[version].on(channel)
            found = (await prepare(api.NodePrepareResourcesRequest(claims=asked))).claims

            (first,) = found["u1"].devices
            assert list(first.request_names) == ["a"]
            assert (first.pool_name, first.device_name, first.share_id) == ("n", "gpu-1", "s")
            assert list(first.cdi_device_ids) == ["v/c=1"]
            assert found["u2"].error == "held by x"
            assert "no answer" in found["u3"].error
            assert [str(each) for each in backend.asked] == ["ns/c1", "ns/c2", "ns/c3"]

            # An exception is an answer for every claim, not an end of the call.
            backend.fails = RuntimeError("broken")
            found = (await prepare(api.NodePrepareResourcesRequest(claims=asked))).claims
            assert {each.error for each in found.values()} == {
                "the agent failed: RuntimeError: broken"
            }

            unprepare = rpcs.UNPREPARE[version].on(channel)
            gone = (await unprepare(api.NodeUnprepareResourcesRequest(claims=asked))).claims
            assert {uid: each.error for uid, each in gone.items()} == {
                "u1": "",
                "u2": "",
                "u3": "",
            }


async def test_the_kubelet_is_told_of_health_at_once_and_at_every_change():
    async with serving(Backend()) as (plugin, registry, _told):
        well = DeviceHealth(pool="n", device="gpu-1", state=HealthState.HEALTHY)
        ill = DeviceHealth(pool="n", device="gpu-1", state=HealthState.UNHEALTHY, message="Xid 79")
        plugin.tell([well])
        endpoint = Path((await info(registry)).endpoint)
        async with rpc.open_channel(endpoint) as channel:
            watch = rpcs.WATCH_HEALTH.stream_on(channel)
            stream = watch(health_api.NodeWatchResourcesRequest())
            (first,) = (await stream.read()).devices
            plugin.tell([ill])
            (second,) = (await stream.read()).devices

        assert (first.health, first.health_check_timeout_seconds) == (health_api.HEALTHY, 30)
        assert (second.health, second.message) == (health_api.UNHEALTHY, "Xid 79")
        assert (second.device.pool_name, second.device.device_name) == ("n", "gpu-1")


async def test_what_a_killed_instance_left_is_removed_and_a_living_one_left_alone():
    async with serving(Backend(), "pod-1") as (_plugin, registry, _told):
        folder = registry.parents[1]
        dead = [
            folder / f"plugins_registry/{DRIVER}-killed-reg.sock",
            folder / f"plugins/{DRIVER}/dra-killed.sock",
        ]
        for path in dead:
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(path))
        beside = DraPlugin(DRIVER, Backend(), kubelet_dir=folder, instance="pod-2")
        task = asyncio.create_task(beside.run())
        await there(folder / f"plugins_registry/{DRIVER}-pod-2-reg.sock")

        assert not set(dead) & set(sockets(folder))
        assert Path((await info(registry)).endpoint) in sockets(folder)
        await beside.close()
        task.cancel()


async def test_another_drivers_sockets_are_left_alone():
    async with serving(Backend()) as (_plugin, registry, _told):
        folder = registry.parents[1]
        others = "nic.example.com"
        dead = [
            folder / f"plugins_registry/{others}-killed-reg.sock",
            folder / f"plugins/{others}/dra-killed.sock",
        ]
        for path in dead:
            path.parent.mkdir(exist_ok=True)
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(path))
        beside = DraPlugin(DRIVER, Backend(), kubelet_dir=folder, instance="pod-2")
        task = asyncio.create_task(beside.run())
        await there(folder / f"plugins_registry/{DRIVER}-pod-2-reg.sock")

        assert set(dead) <= set(sockets(folder))
        await beside.close()
        task.cancel()
        for path in dead:
            path.unlink()


async def test_sockets_that_somebody_removes_are_made_anew():
    async with serving(Backend()) as (_, registry, _told):
        before = Path((await info(registry)).endpoint)
        await asyncio.to_thread(before.unlink)

        await there(before)
        await there(registry)
        assert (await info(registry)).endpoint == str(before)
