"""The node's loop ends when it is told to, whatever happens at the same moment."""

import asyncio

import pytest

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
