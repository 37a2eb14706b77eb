"""Replicas of GPUs through the kubelet's own questions, before any resource of them is offered.

The Catalog is made by hand; everything after it is what the daemon runs.
"""

import asyncio
from collections import Counter

from builders import gpu, inventory, numa, pairs_by_node
from msgspec.structs import replace

from agent.config.schema import Config, Flags, PluginFlags, SharedPolicy
from agent.ledger.ledger import Ledger
from agent.planning.catalog import Catalog, OfferedDevice
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot
from agent.serving.afterwards import Afterwards
from agent.serving.backend import SnapshotBackend, offered_devices
from agent.serving.decisions import Decisions
from agent.serving.nic_grants import NicGrants
from deviceplugin.plugins import DevicePlugins

REPLICAS = "nvidia.com/gpu.shared"


def snapshot(policy, names):
    """Four GPUs, two on each of two NUMA nodes, with the shares that ``names`` gives."""
    gpus = [gpu(i, numa_node=i // 2) for i in range(4)]
    found = inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0), numa(1)))
    flags = Flags(plugin=PluginFlags(shared_devices_allocation_policy=SharedPolicy(policy)))
    seen = build_snapshot(Config(flags=flags), found, Health(), previous=None)
    resources = {
        resource: tuple(
            OfferedDevice(id=name(g, n), gpu=f"GPU-{g}", reason=None, numa_nodes=())
            for g in range(4)
            for n in range(4)
        )
        for resource, name in names.items()
    }
    return replace(seen, catalog=Catalog(resources=resources))


class Served:
    """The agent's own answers in front of a kubelet stand-in."""

    def __init__(self, directory, seen):
        self.ledger = Ledger()
        self.decisions = Decisions(float)
        self.afterwards = Afterwards()
        self.plugins = DevicePlugins(
            kubelet_dir=directory,
            backend=SnapshotBackend(
                lambda: seen,
                ledger=lambda: self.ledger,
                granted=self.granted,
                outdated=lambda: None,
                decisions=self.decisions,
                nic_grants=NicGrants(lambda: 0.0),
                afterwards=self.afterwards,
            ),
        )
        self.plugins.offer(offered_devices(seen.catalog))

    def granted(self, resource, devices):
        self.ledger = self.ledger.with_grant(resource, devices, at_s=0.0)


async def admit(kubelet, pod, served, *counts):
    """Admit pods one after the other; return how many shares of each GPU each got."""
    running = asyncio.create_task(served.plugins.run())
    try:
        await kubelet.devices(REPLICAS, lambda now: len(now) == 16)
        given = []
        for i, count in enumerate(counts):
            (allocated,) = await kubelet.admit(pod(f"p{i}", main={REPLICAS: count}))
            given.append(Counter(parent_of(id_) for id_ in allocated.device_ids))
        served.afterwards.catch_up()
        return given
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def parent_of(id_):
    return int(id_.split("-")[1][0])


NAMES = {REPLICAS: "GPU-{}::{}".format}


async def test_distributed_shares_are_on_the_gpus_with_the_lowest_load(kubelet, pod, directory):
    served = Served(directory, snapshot("distributed", NAMES))

    given = await admit(kubelet, pod, served, 1, 1, 1, 1, 4)

    assert sum(given[:4], Counter()) == dict.fromkeys(range(4), 1)
    assert given[4] == dict.fromkeys(range(4), 1)


async def test_packed_shares_fill_one_gpu_after_the_other(kubelet, pod, directory):
    served = Served(directory, snapshot("packed", NAMES))

    given = await admit(kubelet, pod, served, 1, 2, 1, 3)

    assert [len(each) for each in given] == [1, 1, 1, 1]
    assert len(set(given[0]) | set(given[1]) | set(given[2])) == 1
    assert set(given[3]).isdisjoint(given[0])


async def test_aligned_shares_are_of_gpus_of_one_node(kubelet, pod, directory):
    served = Served(directory, snapshot("aligned", NAMES))

    given = await admit(kubelet, pod, served, 2, 2)

    assert [sorted(each.values()) for each in given] == [[1, 1], [1, 1]]
    assert all(len({parent // 2 for parent in each}) == 1 for each in given)
    assert set(given[0]).isdisjoint(given[1]), "then the lowest load"


async def test_every_share_given_is_explained(kubelet, pod, directory):
    served = Served(directory, snapshot("packed", NAMES))

    await admit(kubelet, pod, served, 2)

    (recorded,) = served.decisions.find()
    assert (recorded["quality"], recorded["policy"], recorded["offered"]) == (
        "divided",
        "packed",
        16,
    )
    assert len(recorded["answer"]["gpus"]) == 1
    assert recorded["answer"]["explanation"]["lost_at"] == "order"
