"""The node's loop ends when it is told to, whatever happens at the same moment."""

import asyncio
import threading

import pytest
from builders import gpu, inventory

from agent.config.schema import Config
from agent.daemon.node import Node
from agent.model.machine import Machine


async def turn_over(turns):
    """Let the loop go round so many times."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(12))
async def test_an_end_that_comes_with_an_allocation_is_not_lost(tmp_path, turns):
    node = Node(
        Machine.simulated(tmp_path),
        Config(),
        in_charge=asyncio.Event(),
        holders=asyncio.Event().wait,
        prepare=lambda _: None,
        publish=lambda _: None,
        confirmed=lambda *_: None,
    )
    running = asyncio.create_task(node.run())
    # From here on it waits with a limit: the kubelet has yet to confirm what it was given.
    node.granted("nvidia.com/gpu", ["GPU-0"])
    await turn_over(20)

    node.granted("nvidia.com/gpu", ["GPU-1"])
    await turn_over(turns)
    running.cancel()

    await asyncio.wait({running}, timeout=1)
    assert running.cancelled()


class Lookout:
    """Finds one GPU at once."""

    def look(self, config):
        return inventory(gpu(0))


@pytest.mark.parametrize("first", [True, False])
async def test_what_was_divided_since_the_look_began_is_not_offered_by_it(tmp_path, first):
    in_charge, go = asyncio.Event(), threading.Event()
    in_charge.set()
    writing, published = threading.Event(), asyncio.Event()

    def prepare(_):
        writing.set()
        go.wait(10)

    async def holders():
        return None

    node = Node(
        Machine.simulated(tmp_path),
        Config(),
        in_charge=in_charge,
        holders=holders,
        prepare=prepare,
        publish=lambda _: published.set(),
        confirmed=lambda *_: None,
    )
    node._lookout = Lookout()
    if not first:
        go.set()
        await node.start()
        go.clear()
        writing.clear()
    looking = asyncio.create_task(node.start())
    await asyncio.to_thread(writing.wait, 10)

    # The disk is slow: a whole change comes between what was read and what is offered.
    node.change({"GPU-0": "being divided"})
    node.change({})
    go.set()
    await looking

    assert set(node.snapshot.changing) == {"GPU-0"}
    (device,) = node.snapshot.catalog.resources["nvidia.com/gpu"]
    assert not device.healthy
    published.clear()
    running = asyncio.create_task(node.run())
    await asyncio.wait_for(published.wait(), 10)
    assert not node.snapshot.changing
    running.cancel()
    await asyncio.wait({running})
