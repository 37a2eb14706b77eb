"""Without its checkpoint a kubelet that restarts forgets who holds what."""

import asyncio

import pytest
from daemon_process import changed

from deviceplugin.names import KUBELET_CHECKPOINT

GPU = "nvidia.com/gpu"


@pytest.fixture
async def checkpoint(kubelet):
    return kubelet.directory / KUBELET_CHECKPOINT


async def noticed(bench):
    """Wait until the plugin has seen the checkpoint that the kubelet wrote."""
    async with asyncio.timeout(5):
        while not bench.plugins._had_checkpoint:  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0)


async def test_a_checkpoint_that_was_removed_is_written_again(
    bench, kubelet, checkpoint, pod, devices, notes
):
    bench.run({GPU: devices("g0", "g1", "g2")})
    await kubelet.devices(GPU)
    (held,) = await kubelet.admit(pod(main={GPU: 2}))
    await noticed(bench)
    checkpoint.unlink()
    await changed(kubelet.directory, checkpoint.exists)
    await kubelet.restart()
    await kubelet.devices(GPU)

    (other,) = await kubelet.admit(pod("other", main={GPU: 1}))
    assert set(other.device_ids).isdisjoint(held.device_ids)
    assert notes.count("checkpoint_lost") == 1


async def test_it_is_written_again_also_when_all_else_was_removed_with_it(
    bench, kubelet, checkpoint, pod, devices
):
    bench.run({GPU: devices("g0", "g1", "g2")})
    await kubelet.devices(GPU)
    await kubelet.admit(pod(main={GPU: 2}))
    await noticed(bench)
    for path in kubelet.directory.iterdir():
        path.unlink()
    await changed(kubelet.directory, checkpoint.exists)

    assert kubelet.allocatable == {GPU: 3}


async def test_one_that_is_there_costs_no_second_list(bench, kubelet, pod, devices, notes):
    bench.run({GPU: devices("g0", "g1")})
    await kubelet.devices(GPU)
    for name in ("a", "b"):
        await kubelet.admit(pod(name, main={GPU: 1}))
    await kubelet.restart()
    await notes.seen("devices_sent", GPU, 2, 2, times=2)

    assert notes.count("devices_sent") == 2
    assert notes.count("checkpoint_lost") == 0
