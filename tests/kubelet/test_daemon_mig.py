"""Somebody else divides GPUs while the daemon runs."""

import asyncio

from daemon_process import changed, simulated_node
from mig_machine import divide

from agent.simulation import machines


def events(node, event):
    return node.log.read_text().count(f"event={event} ")


async def test_made_and_vanished_instances_are_looked_at_and_the_kubelet_hears_nothing_new():
    async with simulated_node() as node:
        await node.serving()
        await node.logged("devices_sent")
        looks = events(node, "snapshot")
        await asyncio.to_thread(divide, node.machine, 1, "9:2", "19:0")
        await changed(node.folder, lambda: events(node, "snapshot") > looks, timeout_s=5)

        # The last of several changes may have a look of its own.
        await node.kubelet.devices("nvidia.com/gpu")
        looks = events(node, "snapshot")
        machines.reset(node.machine, "1")
        await changed(node.folder, lambda: events(node, "snapshot") > looks, timeout_s=5)

        # Under the strategy none, MIG is not looked at: eight whole GPUs, as before.
        assert len(await node.kubelet.devices("nvidia.com/gpu")) == 8
        assert events(node, "devices_sent") == 1
