"""A daemon that serves claims, its API server, and a kubelet that does as it is told."""

import asyncio
import contextlib
import sys
from pathlib import Path

from api_server import NODE, ApiServer
from daemon_process import simulated_node

from deviceplugin import rpc
from deviceplugin._generated import dra_v1_pb2 as api
from deviceplugin._generated import pluginregistration_v1_pb2 as registration_api
from deviceplugin.dra import rpcs

GPUS, NICS = "gpu.nvidia.com", "nic.plumbline.dev"


class DraNode:
    """A node whose daemon serves claims."""

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

    def claim(self, uid, configs=(), **devices):
        """Allocate devices to a claim, given by driver with __ for dots."""
        results = [
            {"driver": name.replace("__", "."), "pool": NODE, "device": device, "request": "r"}
            for name, device in devices.items()
        ]
        path = f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c-{uid}"
        self.server.claims[path] = {
            "metadata": {"namespace": "default", "name": f"c-{uid}", "uid": uid},
            "status": {"allocation": {"devices": {"results": results, "config": list(configs)}}},
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
async def dra_node(*profile, **how):
    server = ApiServer()
    try:
        async with simulated_node(*profile, **how) as node:
            yield DraNode(node, server)
    finally:
        server.close()
