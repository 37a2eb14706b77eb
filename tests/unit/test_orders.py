"""Orders wait without haste, keep back what another process is at, and end with what they began."""

import asyncio
from pathlib import Path

import pytest

from agent.config.mig import Mig
from agent.daemon import orders
from agent.daemon.dividing import Assessment
from agent.daemon.order_reports import Reason
from agent.daemon.orders import Orders
from agent.ledger.ledger import Ledger
from agent.model.errors import NoDriverError
from agent.partition.recovery import Recovered
from agent.planning.mig_outcome import Blocked, Obstacle, Plan

EMPTY = Plan(gpu="GPU-0", steps=(), layout=None)


class Node:
    """What Orders ask of a Node; every GPU is free."""

    def __init__(self):
        self.driver = asyncio.Lock()
        self.ledger = Ledger()
        self.withheld = {}
        self.silent = False

    def change(self, reasons):
        self.withheld = dict(reasons)

    async def accounted(self):
        return None if self.silent else self.ledger


class Dividing:
    """Recovers and assesses as it is told to, and counts how often it is asked."""

    def __init__(self):
        self.recoveries, self.outcomes, self.busy = [], (), ()
        self.recovered = self.assessed = self.divided = 0
        self.gate = None

    def unfinished(self):
        return ("GPU-0",) if self.recoveries else ()

    def recover(self, *_):
        self.recovered += 1
        if self.gate:
            self.gate.wait()
        found = self.recoveries.pop(0)
        if isinstance(found, Exception):
            raise found
        return (Recovered(journal=Path("j"), gpus=("GPU-0",), outcome=found),)

    def assess(self, *_):
        self.assessed += 1
        return Assessment(goal={}, outcomes=self.outcomes, names={"GPU-0": "GPU 0"})

    def at_work(self):
        return self.busy

    def carry_out(self, mig, goal, held):
        if self.gate:
            self.gate.wait()
        held()
        self.divided += 1


def blocked():
    obstacle = Obstacle(holders=("pod a/b",), instance=None, compute=None, name="the whole GPU")
    return Blocked(gpu="GPU-0", obstacles=(obstacle,), now=EMPTY, nearest="nothing")


@pytest.fixture
def dividing():
    return Dividing()


@pytest.fixture
async def running(dividing, monkeypatch):
    """Start Orders with these settings; they end with the test."""
    monkeypatch.setattr(orders, "RECOVER_S", (0.05,))
    tasks = []

    async def start(mig=None):
        found = Orders(mig or Mig(), "", node=Node(), dividing=dividing, report=reports.append)
        found.told = reports
        await found.take_in()
        tasks.append(asyncio.create_task(found.run()))
        found.task = tasks[0]
        return found

    reports = []
    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_an_order_that_is_given_in_two_ways_waits_without_haste(dividing, running):
    dividing.outcomes = (blocked(),)
    found = await running(Mig(layout="half"))
    found.labelled("half")
    await until(lambda: found.told and found.told[-1].reason is Reason.DRAINING)

    # The label goes, the configuration says the same; and another comes and goes.
    found.labelled(None)
    found.labelled("other")
    found.labelled(None)
    await until(lambda: dividing.assessed >= 3)
    before = dividing.assessed
    await asyncio.sleep(0.5)

    assert dividing.assessed - before <= 2


async def test_an_order_that_failed_has_failed_again_when_a_silent_kubelet_speaks(
    dividing, running, monkeypatch
):
    monkeypatch.setattr(orders, "POLL_S", 0.01)
    dividing.outcomes = (blocked(),)
    found = await running(Mig(layout="half", drain_deadline=0.02))
    found.labelled(None)
    await until(lambda: found.told and found.told[-1].reason is Reason.IN_USE)
    failed = found.told[-1]

    found._node.silent = True
    found.stirred()
    await until(lambda: found.told[-1].reason is Reason.KUBELET)
    found._node.silent = False

    await until(lambda: found.told[-1] == failed)


async def test_an_order_that_is_taken_back_while_the_kubelet_is_silent_is_forgotten(
    dividing, running, monkeypatch
):
    monkeypatch.setattr(orders, "POLL_S", 0.01)
    found = await running()
    found._node.silent = True
    found.labelled("half")
    await until(lambda: found.told and found.told[-1].reason is Reason.KUBELET)

    found.labelled(None)

    await until(lambda: found.told[-1] is None)


@pytest.mark.parametrize("trouble", ["waits", NoDriverError("no driver")])
async def test_what_cannot_be_recovered_yet_is_kept_back_and_tried_again(
    dividing, running, trouble
):
    dividing.recoveries = [trouble, trouble, "finished"]
    found = await running()
    found.labelled(None)
    node = found._node
    await until(lambda: dividing.recovered == 2)
    assert set(node.withheld) == {"GPU-0"}

    await until(lambda: not node.withheld)
    assert dividing.recovered == 3
    assert dividing.recoveries == []


async def test_that_there_is_no_order_is_told_once(running):
    found = await running()
    found.labelled(None)
    await until(lambda: found.told)
    found.labelled("half")
    await until(lambda: found.told[-1] is not None)

    assert [each and each.state for each in found.told] == [None, "success"]


async def test_what_another_process_is_about_to_divide_is_kept_back(dividing, running):
    # It has locked the GPU and written nothing yet: an earlier instance that is ending.
    dividing.recoveries, dividing.busy = ["finished", "finished", "finished"], ("GPU-0",)
    found = await running()
    await until(lambda: dividing.recovered == 2)
    assert set(found._node.withheld) == {"GPU-0"}

    dividing.busy = ()
    await until(lambda: not found._node.withheld)


async def test_a_change_that_has_not_begun_is_not_begun_when_the_agent_ends(dividing, running):
    loop, opened = asyncio.get_running_loop(), asyncio.Event()
    dividing.gate = asyncio.Event()
    dividing.gate.wait = lambda: asyncio.run_coroutine_threadsafe(opened.wait(), loop).result()
    dividing.outcomes = (EMPTY,)
    found = await running()
    found.labelled("half")
    await until(lambda: found._at_work)

    closing = asyncio.create_task(found.close())
    await asyncio.sleep(0)
    opened.set()
    await asyncio.wait_for(closing, 5)

    assert dividing.divided == 0
    assert [each.state for each in found.told] == ["pending"]
    assert set(found._node.withheld) == {"GPU-0"}


async def test_orders_are_led_while_something_unfinished_waits(dividing, running):
    dividing.recoveries = ["waits"] * 1000
    found = await running()

    found.labelled("half")

    await until(lambda: found.told)
    assert found.told[-1].state == "success"
    assert set(found._node.withheld) == {"GPU-0"}


async def test_the_end_waits_for_a_recovery_and_nothing_new_begins(dividing, running):
    dividing.gate, dividing.recoveries = asyncio.Event(), ["finished"]
    loop = asyncio.get_running_loop()
    dividing.gate.wait = lambda: asyncio.run_coroutine_threadsafe(opened.wait(), loop).result()
    opened = asyncio.Event()
    dividing.outcomes = (EMPTY,)
    found = await running()
    found.labelled("half")
    await until(lambda: dividing.recovered)
    # Whoever runs it is ended first where the daemon ends for another reason than SIGTERM.
    found.task.cancel()
    await asyncio.sleep(0.05)

    closing = asyncio.create_task(found.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    opened.set()
    await asyncio.wait_for(closing, 5)

    assert not found.left_behind
    assert dividing.divided == 0
