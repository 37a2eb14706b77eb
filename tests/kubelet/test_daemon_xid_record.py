"""What an Xid has marked stays marked when the agent starts again."""

import asyncio
import json
import shutil
import signal

import pytest
from daemon_process import GPU, changed, simulated_node

from agent.simulation import machines

SOON_S = 6.0
RECORD = "var/lib/plumbline/xids.json"
BOOT_ID = "proc/sys/kernel/random/boot_id"
STEADY_SOON = """
from agent.daemon import node

node.STEADY_S = 0.3
"""

TRYING_SOON = """
from agent.daemon import xid_record

xid_record.RETRY_S = 0.1
"""


def recorded(node):
    """The GPUs that are written down."""
    try:
        return json.loads((node.machine / RECORD).read_text())["xids"].keys()
    except (OSError, ValueError, TypeError):  # not there, or not written by an agent
        return None


async def marked(node, *gpus):
    """Have Xids mark GPUs, and wait until that is written down."""
    folder = (node.machine / RECORD).parent
    # The agent makes it when it has something to write.
    folder.mkdir(parents=True, exist_ok=True)
    for gpu in gpus:
        machines.inject_xid(node.machine, str(gpu), 79)
    names = {node.uuid(gpu) for gpu in gpus}
    await changed(folder, lambda: recorded(node) == names)


async def unhealthy(node):
    """The GPUs that are offered as unhealthy, as an agent that has just started tells them."""
    devices = await node.kubelet.devices(GPU)
    return {i for i in range(8) if not devices[node.uuid(i)].healthy}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_mark_outlives_the_agent_and_ends_when_it_is_forgiven(how):
    async with simulated_node() as node:
        first = await node.serving()
        await marked(node, 2, 5)
        first.send_signal(how)
        await first.wait()

        second = await node.serving()

        assert await unhealthy(node) == {2, 5}
        await node.logged("xids_remembered")
        second.send_signal(signal.SIGHUP)
        assert await node.unhealthy(0, timeout_s=SOON_S) == set()
        await node.stop(second)
        assert not (node.machine / RECORD).exists()
        await node.serving()
        assert await unhealthy(node) == set()


async def test_a_mark_ends_with_the_boot():
    async with simulated_node() as node:
        first = await node.serving()
        await marked(node, 2)
        await node.stop(first)
        (node.machine / BOOT_ID).write_text("8a4e6d5c-0f1e-4f38-9a43-5a1b3c9e7d20\n")

        second = await node.serving()

        assert await unhealthy(node) == set()
        assert recorded(node) is None
        # The same again is something new.
        await marked(node, 2)
        await node.stop(second)
        await node.serving()
        assert await unhealthy(node) == {2}


async def test_an_instance_that_is_told_before_its_turn_that_all_is_mended_remembers_that():
    async with simulated_node() as node:
        first = await node.serving()
        await marked(node, 2)
        node.log.write_text("")
        second = await node.start()
        await node.logged("standing_by")
        second.send_signal(signal.SIGHUP)
        await node.logged("config_read")
        assert recorded(node) == {node.uuid(2)}
        first.kill()
        await first.wait()

        await node.kubelet.registered(GPU, times=2, timeout_s=SOON_S)
        await node.kubelet.devices(
            GPU, lambda now: all(each.healthy for each in now.values()), timeout_s=SOON_S
        )
        await changed(node.machine / "var/lib/plumbline", lambda: recorded(node) is None)


async def test_another_driver_starts_every_gpu_anew():
    async with simulated_node() as node:
        process = await node.serving()
        await marked(node, 2)
        library = next(node.machine.rglob("libnvidia-ml.so.1")).resolve()
        shutil.copy(library, library.with_name("newer"))
        library.with_name("newer").replace(library)
        machines.lose(node.machine, "7", silently=True)

        assert await asyncio.wait_for(process.wait(), SOON_S) == 1
        assert "the driver library was replaced" in node.log.read_text().splitlines()[-1]
        assert recorded(node) is None


async def test_a_gpu_that_comes_back_after_the_agent_started_is_trusted_after_a_while():
    async with simulated_node() as node:
        first = await node.serving()
        await marked(node, 2, 5)
        await node.stop(first)
        two, five = node.uuid(2), node.uuid(5)
        machines.lose(node.machine, "2", silently=True)
        await node.serving(before=STEADY_SOON)

        machines.restore(node.machine, "2")

        await node.kubelet.devices(
            GPU, lambda now: two in now and now[two].healthy, timeout_s=SOON_S
        )
        assert not (await node.kubelet.devices(GPU))[five].healthy


async def test_an_xid_that_is_ignored_by_now_marks_nothing():
    async with simulated_node() as node:
        first = await node.serving()
        await marked(node, 2)
        await node.stop(first)

        await node.serving(env={"DP_DISABLE_HEALTHCHECKS": "79"})

        assert await unhealthy(node) == set()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 2, "boot": "", "xids": {}}', b"[]"])
async def test_a_record_that_cannot_be_read_is_told_and_keeps_nobody_from_serving(content):
    async with simulated_node() as node:
        path = node.machine / RECORD
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

        await node.serving()

        await node.logged("xids_unreadable")
        assert str(path) in node.log.read_text()
        assert await unhealthy(node) == set()
        await marked(node, 2)


async def test_a_disk_that_takes_no_record_keeps_nobody_from_marking_and_is_tried_again():
    async with simulated_node() as node:
        (node.machine / RECORD).mkdir(parents=True)
        await node.serving(before=TRYING_SOON)

        machines.inject_xid(node.machine, "2", 79)

        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(2)}
        await node.logged("xids_not_kept")
        # Several tries, of which nothing else tells.
        await asyncio.sleep(0.5)
        assert node.log.read_text().count("xids_not_kept") == 1
        (node.machine / RECORD).rmdir()
        await changed(node.machine / "var/lib/plumbline", lambda: recorded(node) == {node.uuid(2)})
