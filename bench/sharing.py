"""What 1,024 Replicas cost beside the 8 GPUs that they are of: messages, calls, memory."""

import asyncio
import statistics
import time
from pathlib import Path

import psutil

from agent.config.schema import Config
from agent.config.sharing import Sharing, TimeSlicedResource, TimeSlicing
from agent.daemon.lookout import Lookout
from agent.discovery.library import simulated_machine
from agent.ledger.ledger import Ledger
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot
from agent.serving.backend import offered_devices
from bench.node import daemon, simulated_node
from deviceplugin import rpc, wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api

GPU = "nvidia.com/gpu"
EACH = 128
TURN = 50
CONFIG = f"""version: v1
sharing: {{timeSlicing: {{resources: [{{name: gpu, replicas: {EACH}}}]}}}}
"""


async def measure(rounds: int) -> dict[str, object]:
    async with simulated_node() as (folder, kubelet), simulated_node() as (bare, other):
        config = folder / "config.yaml"
        config.write_text(CONFIG)
        messages = await asyncio.to_thread(_messages, folder / "machine", rounds)
        async with (
            daemon(folder, kubelet, f"--config-file={config}") as (pid, socket, _),
            daemon(bare, other) as (bare_pid, bare_socket, _),
            rpc.open_channel(socket) as channel,
            rpc.open_channel(bare_socket) as bare_channel,
        ):
            ours, theirs = await _Served.on(channel, pid), await _Served.on(bare_channel, bare_pid)
            return {
                "replicas": len(ours.ids),
                "list": messages,
                "allocate": await _beside(ours.allocate, theirs.allocate, rounds)
                | {"aim": "ratio at most 1.2"},
                "prefer": await _beside(ours.prefer, theirs.prefer, rounds),
                "memory": {
                    "resident_mib": ours.resident_mib,
                    "without_sharing_mib": theirs.resident_mib,
                    "more_mib": ours.resident_mib - theirs.resident_mib,
                    "aim": "under 4 more",
                },
            }


class _Served:
    """One daemon that a kubelet watches."""

    def __init__(self, channel, pid, stream, ids):
        self.ids = ids
        self._stream = stream
        self._process = psutil.Process(pid)
        self._allocate = rpc.ALLOCATE.on(channel)
        self._prefer = rpc.PREFER.on(channel)
        self._next = 0

    @classmethod
    async def on(cls, channel, pid):
        # Kept open: a kubelet that let its stream end would be registered with again.
        stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
        return cls(channel, pid, stream, sorted(d.ID for d in (await stream.read()).devices))

    @property
    def resident_mib(self):
        return self._process.memory_info().rss / 2**20

    async def allocate(self):
        self._next = (self._next + 7) % len(self.ids)
        container = api.ContainerAllocateRequest(devices_ids=[self.ids[self._next]])
        await self._allocate(api.AllocateRequest(container_requests=[container]))

    async def prefer(self):
        container = api.ContainerPreferredAllocationRequest(
            available_deviceIDs=self.ids, allocation_size=1
        )
        await self._prefer(api.PreferredAllocationRequest(container_requests=[container]))


async def _beside(ours, theirs, rounds):
    """Time both daemons alternately, so that noise of the machine falls on both.

    In turns of many calls: what a daemon works out after it has answered must not fall into
    the other's time.
    """
    times = ([], [])
    for _ in range(rounds // TURN + 1):
        for found, call in zip(times, (ours, theirs), strict=True):
            began = time.perf_counter()
            for _ in range(TURN):
                await call()
            found.append((time.perf_counter() - began) / TURN)
    # The first turn opens connections and fills caches.
    shared, whole = (statistics.median(found[1:]) for found in times)
    return {
        "microseconds": 1e6 * shared,
        "without_sharing_microseconds": 1e6 * whole,
        "ratio": shared / whole,
        "rounds": rounds,
    }


def _messages(machine: Path, rounds: int) -> dict[str, object]:
    """Time what stands between a change of health and the kubelet's message."""
    turns = TimeSlicing(resources=(TimeSlicedResource(name="gpu", replicas=EACH),))
    lookout = Lookout(simulated_machine(machine), lambda _: None)
    try:
        inventory = lookout.look(Config())
    finally:
        lookout.close()
    found = {}
    for name, sharing in (("replicas", Sharing(time_slicing=turns)), ("gpus", Sharing())):
        seen = build_snapshot(Config(sharing=sharing), inventory, Health(), previous=None)
        offered = offered_devices(seen.catalog)[GPU]
        found[name] = {
            "devices": len(offered),
            "bytes": len(wire.device_list(offered).SerializeToString()),
            "message_ms": _ms(lambda: _message(seen.catalog), rounds),  # noqa: B023 - called now
            "catalog_and_message_ms": _ms(lambda: _after_change(seen), rounds),  # noqa: B023
        }
    return found | {"aim": "message_ms under 5"}


def _message(catalog):
    return wire.device_list(offered_devices(catalog)[GPU]).SerializeToString()


def _after_change(seen):
    return _message(seen.with_state(Health(unhealthy={"GPU-x": "of no GPU"}), Ledger()).catalog)


def _ms(call, rounds):
    times = []
    for _ in range(max(20, rounds // 20)):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)
