"""The daemon has the containers of claims share GPUs, and its MPS daemons outlive it."""

import asyncio
import contextlib
import json

import mps_node as mps
import yaml
from dra_node import GPUS, dra_node

PIPE = "CUDA_MPS_PIPE_DIRECTORY=/mps/claim-u1/pipe"


def config(sharing, kind="GpuConfig"):
    return {
        "source": "FromClaim",
        "requests": [],
        "opaque": {
            "driver": GPUS,
            "parameters": {
                "apiVersion": "resource.nvidia.com/v1beta1",
                "kind": kind,
                "sharing": sharing,
            },
        },
    }


BY_MPS = config(
    {
        "strategy": "MPS",
        "mpsConfig": {
            "defaultActiveThreadPercentage": 40,
            "defaultPinnedDeviceMemoryLimit": "10Gi",
        },
    }
)
LONG = config({"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}})


@contextlib.asynccontextmanager
async def sharing_node(dra=None):
    # Not in /dev/shm, which MPS daemons have for themselves.
    async with dra_node(memory=None) as it:
        path = it.node.folder / "config.yaml"
        path.write_text(yaml.safe_dump({"version": "v1", "plumbline": {"dra": dra or {}}}))
        try:
            await it.start(f"--config-file={path}")
            await it.register(GPUS)
            yield it
        finally:
            mps.end_all(it.node)


async def start_anew(it):
    """Kill the daemon and start another."""
    (process,) = it.node.processes[-1:]
    process.kill()
    await process.wait()
    it.registered()[GPUS].unlink()
    await it.start()
    await it.register(GPUS)


async def until(condition):
    """Wait for something outside of any process that could tell us."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.05)


def records(it):
    folder = it.node.machine / "var/lib/plumbline"
    return sorted(each.name for each in folder.glob("claim-*/*"))


async def test_a_claim_has_an_mps_daemon_that_outlives_the_agent():
    async with sharing_node() as it:
        claim = it.claim("u1", [BY_MPS], gpu__nvidia__com=it.node.uuid(2).lower())
        answer = await it.prepare(GPUS, claim)

        ((pipe, daemon),) = mps.daemons(it.node).items()
        assert pipe.endswith("/claim-u1/pipe")
        assert daemon.gpus == it.node.uuid(2)
        assert mps.told(it.node, pipe, "get_default_active_thread_percentage") == "40.0"
        assert mps.told(it.node, pipe, "get_default_device_pinned_mem_limit 0") == "10240M"
        modes = mps.compute_modes(it.node)
        assert modes == ["default"] * 2 + ["exclusive-process"] + ["default"] * 5
        spec = (it.node.machine / f"var/run/cdi/k8s.{GPUS}-claim_u1.json").read_text()
        (device,) = json.loads(spec)["devices"]
        edits = device["containerEdits"]
        assert edits["env"] == [PIPE]
        mounts = {each["containerPath"]: each["hostPath"] for each in edits["mounts"]}
        assert mounts["/mps/claim-u1/pipe"] == pipe

        await start_anew(it)
        assert await it.prepare(GPUS, claim) == answer
        ((_, still),) = mps.daemons(it.node).items()
        assert still.pid == daemon.pid

        assert await it.unprepare(GPUS, claim) == ""
        assert mps.found(it.node) == []
        assert mps.compute_modes(it.node) == ["default"] * 8
        assert records(it) == []


async def test_an_mps_daemon_of_a_claim_that_dies_is_started_anew():
    async with sharing_node() as it:
        claim = it.claim("u1", [BY_MPS], gpu__nvidia__com=it.node.uuid(2).lower())
        await it.prepare(GPUS, claim)
        ((pipe, daemon),) = mps.daemons(it.node).items()

        daemon.process.kill()
        await until(lambda: any(each.pid != daemon.pid for each in mps.found(it.node)))
        await until(lambda: "event=mps_restarted" in it.node.log.read_text())
        assert mps.told(it.node, pipe, "get_default_active_thread_percentage") == "40.0"
        assert await it.unprepare(GPUS, claim) == ""


async def test_a_time_slice_ends_with_its_claim_also_for_another_agent():
    async with sharing_node() as it:
        uuid = it.node.uuid(5)
        claim = it.claim("u1", [LONG], gpu__nvidia__com=uuid.lower())
        await it.prepare(GPUS, claim)
        assert mps.slices(it.node) == {uuid: 3}

        await start_anew(it)
        assert mps.slices(it.node) == {uuid: 3}
        assert await it.unprepare(GPUS, claim) == ""
        assert mps.slices(it.node) == {}
        assert records(it) == []


async def test_a_mig_instance_is_shared_through_mps_without_being_exclusive():
    async with sharing_node({"mig": "dynamic"}) as it:

        def instances():
            return [
                name
                for name, each in it.server.devices(GPUS).items()
                if each["attributes"].get("profile") == {"string": "1g.10gb"}
            ]

        await it.until(instances)
        by_mps = config({"strategy": "MPS"}, kind="MigDeviceConfig")
        claim = it.claim("u1", [by_mps], gpu__nvidia__com=instances()[0])
        await it.prepare(GPUS, claim)

        (daemon,) = mps.daemons(it.node).values()
        assert daemon.gpus.startswith("MIG-")
        assert mps.compute_modes(it.node) == ["default"] * 8
        assert await it.unprepare(GPUS, claim) == ""
        assert mps.found(it.node) == []
        assert records(it) == []
