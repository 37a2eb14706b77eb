"""Claims prepared and given back, beside an empty call, the same GET and a record on the disk."""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import urllib3

from agent.partition.written import write_down
from bench.api_server import CLAIMS, NODE
from bench.node import PROGRAM, simulated_node
from deviceplugin import rpc
from deviceplugin._generated import dra_v1_pb2 as api
from deviceplugin._generated import pluginregistration_v1_pb2 as registration_api
from deviceplugin.dra import rpcs

SETTLE_S = 1.0


async def measure(rounds: int, starts: int, idle_seconds: float) -> dict[str, object]:
    async with simulated_node() as (folder, _):
        started = [await _start(folder) for _ in range(starts)]
        async with _api_server() as server, _agent(folder, server) as agent:
            await agent.published(server)
            return {
                "started_to_published_s": statistics.median(started),
                "aim_started_to_published_s": "under 1",
                **await _calls(agent, server, rounds),
                **await _rest(agent, server, idle_seconds),
            }


async def _start(folder):
    # A server that has the slices already is written nothing.
    async with _api_server() as server, _agent(folder, server) as agent:
        return await agent.published(server)


async def _calls(agent, server, rounds):
    device = server.devices()[0]
    prepare, unprepare, empty, get, record = [], [], [], [], []
    path = agent.folder / "machine/var/lib/plumbline/record"
    async with rpc.open_channel(agent.service) as channel:
        call, back = rpcs.PREPARE["v1"].on(channel), rpcs.UNPREPARE["v1"].on(channel)
        for i in range(rounds):
            name = f"{i}.{device}"
            claim = api.Claim(namespace="default", name=name, uid=name)
            began = time.perf_counter()
            answer = await call(api.NodePrepareResourcesRequest(claims=[claim]))
            prepare.append(time.perf_counter() - began)
            assert not answer.claims[name].error, answer
            began = time.perf_counter()
            answer = await back(api.NodeUnprepareResourcesRequest(claims=[claim]))
            unprepare.append(time.perf_counter() - began)
            assert not answer.claims[name].error, answer
            began = time.perf_counter()
            await call(api.NodePrepareResourcesRequest())
            empty.append(time.perf_counter() - began)
            began = time.perf_counter()
            await asyncio.to_thread(server.get, f"{CLAIMS}{name}")
            get.append(time.perf_counter() - began)
            began = time.perf_counter()
            await asyncio.to_thread(write_down, path, f"{i:>500}".encode())
            record.append(time.perf_counter() - began)
    floor = [sum(each) for each in zip(empty, get, record, strict=True)]
    return {
        "prepare_ms": _milliseconds(prepare),
        "floor_empty_call_get_and_record_ms": _milliseconds(floor),
        "prepare_beside_floor_ms": _milliseconds(
            [a - b for a, b in zip(prepare, floor, strict=True)]
        ),
        "aim_prepare_ms": "p50 under 15, of which under 3 beside the floor",
        "unprepare_ms": _milliseconds(unprepare),
        "aim_unprepare_ms": "p50 under 5",
        "record_ms": _milliseconds(record),
        "rounds": rounds,
    }


async def _rest(agent, server, seconds):
    await asyncio.sleep(SETTLE_S)
    before = server.get("/asked")
    await asyncio.sleep(seconds)
    after = server.get("/asked")
    return {
        "requests_at_rest": after["requests"] - before["requests"],
        "watches_begun_anew": after["watches"] - before["watches"],
        "rest_seconds": seconds,
        "aim_requests_at_rest": "none but for its watch, which the server ends after some minutes",
        "resident_mib": psutil.Process(agent.pid).memory_info().rss / 2**20,
        "aim_resident_mib": "under 85",
    }


def _milliseconds(samples):
    ordered = sorted(each * 1000 for each in samples)
    return {"p50": statistics.median(ordered), "p99": ordered[int(len(ordered) * 0.99)]}


class _Server:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self._pool = urllib3.PoolManager()

    def get(self, path):
        return json.loads(self._pool.request("GET", self.url + path).data)

    def slices(self):
        return self.get("/apis/resource.k8s.io/v1/resourceslices")["items"]

    def devices(self):
        return [each["name"] for one in self.slices() for each in one["spec"]["devices"]]


@contextlib.asynccontextmanager
async def _api_server():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.api_server", stdout=subprocess.PIPE
    )
    try:
        yield _Server(int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


def _kubeconfig(folder, server):
    path = folder / "kubeconfig"
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    path.write_text(json.dumps(config))
    return path


class _Agent:
    """A daemon under mode dra, and a kubelet that registers it."""

    def __init__(self, folder, process, began):
        self.folder = folder
        self.pid = process.pid
        self.service = Path()
        self._began = began

    async def published(self, server):
        """Register the driver; return how long after the start its slices were there."""
        registry = self.folder / "plugins_registry"
        while not (found := list(registry.glob("[!.]*-reg.sock"))):  # noqa: ASYNC110 - a kubelet looks too
            await asyncio.sleep(0.002)
        async with rpc.open_channel(found[0]) as channel:
            info = await rpcs.GET_INFO.on(channel)(registration_api.InfoRequest())
            self.service = Path(info.endpoint)
            status = registration_api.RegistrationStatus(plugin_registered=True)
            await rpcs.NOTIFY.on(channel)(status)
        while not server.slices():  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.002)
        return time.perf_counter() - self._began


@contextlib.asynccontextmanager
async def _agent(folder, server):
    kubeconfig = _kubeconfig(folder, server)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "run",
        "--mode=dra",
        f"--machine={folder / 'machine'}",
        f"--kubelet-dir={folder / 'kubelet'}",
        f"--node-name={NODE}",
        f"--kubeconfig={kubeconfig}",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield _Agent(folder, process, began)
    finally:
        process.terminate()
        await process.wait()
