"""A node whose GPUs are shared through MPS, as its kubelet and its operator meet it."""

import asyncio
import contextlib

import mps_node as mps
import yaml
from daemon_process import simulated_node

from deviceplugin.standin.pods import Container, Pod

SHARED = "nvidia.com/gpu.shared"
SHARED_BY_MPS = {
    "renameByDefault": True,
    "resources": [{"name": "gpu", "replicas": 4, "devices": [6, 7]}],
}


@contextlib.asynccontextmanager
async def mps_node(profile="l40s-8x"):
    # Not in /dev/shm, which daemons have for themselves.
    async with simulated_node(profile, settled=True, memory=None) as node:
        try:
            yield node
        finally:
            mps.end_all(node)


def write_config(node, by_mps=SHARED_BY_MPS, turns=None, **flags):
    sharing = {"mps": by_mps} if by_mps else {"timeSlicing": turns} if turns else {}
    config = {"version": "v1", "flags": flags, "sharing": sharing}
    path = node.folder / "config.yaml"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(yaml.safe_dump(config))
    fresh.replace(path)
    return f"--config-file={path}"


def entry(devices="all", *, replicas=4, **more):
    return {"name": "gpu", "replicas": replicas, "devices": devices, **more}


async def healthy(node, resource=SHARED, count=8):
    return await node.kubelet.devices(
        resource,
        lambda now: sum(device.healthy for device in now.values()) == count,
        timeout_s=30,
    )


async def admit(node, resource=SHARED, count=1, name="p"):
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, sorted(allocated.device_ids), allocated.allocation


async def until(condition, timeout_s=30.0):
    """Wait for something outside of any process that could tell us."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.05)
