"""The daemon serves GPUs and NICs to claims, each as a driver of its own."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

from api_server import NODE, ApiServer
from daemon_process import simulated_node

from deviceplugin import rpc
from deviceplugin._generated import dra_v1_pb2 as api
from deviceplugin._generated import pluginregistration_v1_pb2 as registration_api
from deviceplugin.dra import rpcs

GPUS, NICS = "gpu.nvidia.com", "nic.plumbline.dev"
# mlx5_0, on the PCIe root of GPU 0.
NIC = "nic-0000-18-00-0"
STATE = "sys/class/infiniband/mlx5_0/ports/1/state"


class Bench:
    """A node whose daemon serves claims, its API server, and a kubelet that does as it is told."""

    def __init__(self, node, server):
        self.node = node
        self.server = server
        self._endpoints = {}

    async def start(self, *flags):
        return await self.node.start(
            "--mode=dra",
            f"--node-name={NODE}",
            f"--kubeconfig={self.server.kubeconfig(self.node.folder)}",
            *flags,
        )

    def registered(self):
        """Which drivers there are to register, by their sockets."""
        found = {}
        for path in (self.node.folder / "plugins_registry").glob("[!.]*-reg.sock"):
            found[path.name.partition("-")[0]] = path
        return found

    async def register(self, driver):
        """Register a driver as the kubelet does, and wait for its slices."""
        async with asyncio.timeout(20):
            while driver not in self.registered():  # noqa: ASYNC110 - a kubelet sees it by inotify
                await asyncio.sleep(0.02)
        async with rpc.open_channel(self.registered()[driver]) as channel:
            info = await rpcs.GET_INFO.on(channel)(registration_api.InfoRequest())
            assert info.name == driver
            self._endpoints[driver] = Path(info.endpoint)
            taken = registration_api.RegistrationStatus(plugin_registered=True)
            await rpcs.NOTIFY.on(channel)(taken)
        await self.until(lambda: self.server.devices(driver))

    async def until(self, condition):
        await asyncio.to_thread(self.server.until, condition)

    def claim(self, uid, **devices):
        """Allocate devices to a claim, given by driver with __ for dots."""
        results = [
            {"driver": name.replace("__", "."), "pool": NODE, "device": device, "request": "r"}
            for name, device in devices.items()
        ]
        path = f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c-{uid}"
        self.server.claims[path] = {
            "metadata": {"namespace": "default", "name": f"c-{uid}", "uid": uid},
            "status": {"allocation": {"devices": {"results": results}}},
        }
        return api.Claim(namespace="default", name=f"c-{uid}", uid=uid)

    async def _ask(self, driver, calls, request):
        async with rpc.open_channel(self._endpoints[driver]) as channel:
            return (await calls["v1"].on(channel)(request)).claims

    async def prepare(self, driver, claim):
        """Return the CDI names that a driver gives for a claim."""
        request = api.NodePrepareResourcesRequest(claims=[claim])
        answer = (await self._ask(driver, rpcs.PREPARE, request))[claim.uid]
        assert not answer.error
        return [name for device in answer.devices for name in device.cdi_device_ids]

    async def unprepare(self, driver, claim):
        request = api.NodeUnprepareResourcesRequest(claims=[claim])
        return (await self._ask(driver, rpcs.UNPREPARE, request))[claim.uid].error

    def specs(self):
        return {path.name for path in (self.node.machine / "var/run/cdi").glob("*claim_*")}

    async def printed(self, *words):
        words = ("-m", "agent.cli.main", *words, "--machine", self.node.machine)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdout=asyncio.subprocess.PIPE
        )
        text, _ = await process.communicate()
        assert process.returncode == 0
        return text.decode()


@contextlib.asynccontextmanager
async def bench():
    server = ApiServer()
    try:
        async with simulated_node() as node:
            yield Bench(node, server)
    finally:
        server.close()


async def test_each_driver_gives_its_own_devices_of_one_claim():
    async with bench() as it:
        await it.start("--dra-nics")
        for driver in (GPUS, NICS):
            await it.register(driver)
        gpu = it.node.uuid(0).lower()
        root = it.server.devices(GPUS)[gpu]["attributes"]["resource.kubernetes.io/pcieRoot"]
        assert it.server.devices(NICS)[NIC]["attributes"]["resource.kubernetes.io/pcieRoot"] == root

        claim = it.claim("u1", gpu__nvidia__com=gpu, nic__plumbline__dev=NIC)
        assert await it.prepare(GPUS, claim) == [f"k8s.{GPUS}/claim=u1-{gpu}"]
        assert await it.prepare(NICS, claim) == [f"k8s.{NICS}/claim=u1-{NIC}"]
        assert it.specs() == {f"k8s.{GPUS}-claim_u1.json", f"k8s.{NICS}-claim_u1.json"}
        shown = json.loads(await it.printed("claims", "-o", "json"))
        devices = [(each["driver"], [d["device"] for d in each["devices"]]) for each in shown]
        assert devices == [(GPUS, [gpu]), (NICS, [NIC])]
        table = await it.printed("claims")
        assert all(driver in table for driver in (GPUS, NICS))

        # What is left of the claim is the other driver's.
        assert await it.unprepare(GPUS, claim) == ""
        assert it.specs() == {f"k8s.{NICS}-claim_u1.json"}
        assert await it.unprepare(NICS, claim) == ""
        assert it.specs() == set()


async def test_a_claim_for_a_nic_outlives_the_agent():
    async with bench() as it:
        first = await it.start("--dra-nics")
        await it.register(NICS)
        claim = it.claim("u1", nic__plumbline__dev=NIC)
        before = await it.prepare(NICS, claim)
        it.server.claims.clear()

        first.kill()
        await first.wait()
        (it.node.folder / "plugins_registry" / it.registered()[NICS].name).unlink()
        await it.start("--dra-nics")
        await it.register(NICS)

        assert await it.prepare(NICS, claim) == before


async def test_a_port_that_goes_down_taints_its_nic_until_it_is_up():
    async with bench() as it:
        await it.start("--dra-nics")
        await it.register(NICS)
        state = it.node.machine / STATE
        up = state.read_text()

        def taints():
            return [each["key"] for each in it.server.devices(NICS)[NIC].get("taints", ())]

        assert taints() == []
        state.write_text("1: DOWN\n")
        await it.until(lambda: taints() == [f"{NICS}/port-down"])
        state.write_text(up)
        await it.until(lambda: taints() == [])


async def test_nics_are_served_where_the_configuration_says_so():
    async with bench() as it:
        await it.start()
        await it.register(GPUS)

        assert set(it.registered()) == {GPUS}
        assert it.server.devices(NICS) == {}


async def test_a_change_of_what_is_served_waits_for_the_next_start():
    async with bench() as it:
        config = it.node.folder / "config.yaml"
        config.write_text("version: v1\n")
        await it.start(f"--config-file={config}")
        await it.register(GPUS)

        config.write_text("version: v1\nplumbline: {dra: {nics: true}}\n")
        await it.node.logged("dra_nics_changed")

        claim = it.claim("u1", gpu__nvidia__com=it.node.uuid(0).lower())
        assert await it.prepare(GPUS, claim)
        assert set(it.registered()) == {GPUS}
