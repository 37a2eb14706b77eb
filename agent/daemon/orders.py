"""Leads the node to the layout that its label or its configuration orders.

The GPUs concerned are withheld first; then their pods are waited for, up to a deadline; then the
GPUs are divided and come back. Everything else goes on as before. Whatever becomes of it is told in
a Report.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from agent.config.mig import Mig
from agent.daemon.dividing import held_by
from agent.daemon.node import first_of
from agent.daemon.order_reports import Reason, Report, Reports, State, reason_of
from agent.daemon.threads import in_thread
from agent.model.errors import BusyError, HardwareError, PlumblineError
from agent.telemetry import logs

if TYPE_CHECKING:
    from agent.daemon.dividing import Assessment, Dividing
    from agent.daemon.node import Node
    from agent.partition.recovery import Recovered
    from agent.planning.mig_holders import Held

T = TypeVar("T")

# How often is looked whether what is in the way has gone.
POLL_S = 1.0
# What fails for no reason that we can see is tried again, less and less often.
BACK_OFF_S = (30.0, 60.0, 120.0, 300.0, 600.0)
# How soon is looked again whether another process has finished the change it is at.
RECOVER_S = (1.0, 2.0, 5.0, 10.0, 30.0)
# How long the end waits for a change that is being carried out; then it is left to the journal.
CLOSE_S = 20.0


class Order(Struct, frozen=True, kw_only=True):
    """A layout that the node is to have."""

    layout: str
    mig: Mig
    where: str
    """Where the layouts are declared, for messages."""


class _SupersededError(Exception):
    """Another order came while one waited."""


Evict = Callable[[Sequence[str]], Awaitable[None]]
"""Asks for the end of pods, named ``namespace/name``."""


class Orders:
    """Everything here happens on the event loop but the dividing itself."""

    def __init__(
        self,
        mig: Mig,
        where: str,
        *,
        node: Node,
        dividing: Dividing,
        report: Callable[[Report | None], None],
        evict: Evict | None = None,
    ) -> None:
        """Prepare; ``report`` is told of every change of an order's state."""
        self._mig, self._where = mig, where
        self._node = node
        self._dividing = dividing
        self._reports = Reports(report)
        self._evict = evict
        self._label: str | None = None
        self._label_known = asyncio.Event()
        self._unfinished: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._ordered = asyncio.Event()
        self._failed_for: Reason | None = None
        self._failures = 0
        self._failure: Report | None = None
        """What was told of the last failure."""
        self._withheld: Mapping[str, str] = {}
        self._at_work: set[asyncio.Task[object]] = set()
        self._closing = False
        self.left_behind = False
        """True after ``close`` when a thread is still dividing GPUs."""

    def follow(self, mig: Mig, where: str) -> None:
        """Take in a new configuration."""
        if (mig, where) != (self._mig, self._where):
            before = self._order
            self._mig, self._where = mig, where
            self._note_order(before)

    def labelled(self, layout: str | None) -> None:
        """Take in what the node's label says; None: nothing, the configuration decides."""
        self._label_known.set()
        before = self._order
        self._label = layout
        self._note_order(before)

    def _note_order(self, before: Order | None) -> None:
        if self._order != before:
            self._ordered.set()

    def stirred(self) -> None:
        """Take in that the node or its pods have changed: what failed may be possible now."""
        self._wake.set()

    async def take_in(self) -> None:
        """Withhold GPUs of which an earlier process left a change, before anything is offered."""
        try:
            self._unfinished = frozenset(await in_thread(self._dividing.unfinished))
        except PlumblineError as error:
            logs.error("mig_recovery_failed", error=error)
        self._withhold({})

    async def run(self) -> None:
        """Lead the node to each order, one after the other; does not return.

        Begins when it is known what the label says: what the configuration says might have to be
        taken back a moment later.
        """
        if self._unfinished:
            await self._recover()
        await asyncio.gather(self._recover_again(), self._follow_orders())

    async def _follow_orders(self) -> None:
        await self._label_known.wait()
        led: Order | None = None
        while True:
            self._ordered.clear()
            self._wake.clear()
            order = self._order
            if order != led:
                self._failed_for, self._failures, led = None, 0, order
            if order is None:
                self._forget()
            self._failed_for = None if order is None else await self._lead(order)
            self._failures = self._failures + 1 if self._failed_for else 0
            await self._rest()

    async def _recover(self) -> None:
        """Finish or undo what an earlier process left, once it is known what pods hold.

        The GPUs stay withheld where that process is still at it, an earlier instance of the agent
        maybe, or where the driver does not answer.
        """
        held = await self._held()
        try:
            found = await self._to_the_end(self._recovered(held))
            busy = await in_thread(self._dividing.at_work)
        except Exception as error:  # noqa: BLE001 - it must not end the serving
            logs.error("mig_recovery_failed", error=f"{type(error).__name__}: {error}")
            return
        for each in found:
            note = logs.event if each.outcome in {"finished", "undone"} else logs.error
            note(
                "mig_recovered",
                journal=each.journal,
                gpus=each.gpus,
                outcome=each.outcome,
                reason=each.reason or "none",
            )
        waiting = (each.gpus for each in found if each.outcome == "waits")
        self._unfinished = frozenset(gpu for gpus in (busy, *waiting) for gpu in gpus)
        self._withhold(self._withheld)

    async def _recovered(self, held: Held) -> tuple[Recovered, ...]:
        async with self._node.driver:
            return await in_thread(self._dividing.recover, self._mig, held)

    async def _recover_again(self) -> None:
        """Try until nothing unfinished is left that may yet be finished."""
        pauses = iter(RECOVER_S)
        while self._unfinished:
            await asyncio.sleep(next(pauses, RECOVER_S[-1]))
            await self._recover()

    async def _held(self, order: Order | None = None) -> Held:
        """Return who holds what, once the kubelet says so and knows all its pods.

        Raises _SupersededError when that is waited for and the order is another by then.
        """
        said = "the kubelet does not say what its pods hold, or has just started"
        if (ledger := await self._node.accounted()) is None:
            logs.warning("mig_waits", reason=said)
        while ledger is None:
            if order is not None:
                self._report(order, State.PENDING, Reason.KUBELET, said)
            await asyncio.sleep(POLL_S)
            if order is not None and order != self._order:
                raise _SupersededError
            ledger = await self._node.accounted()
        return held_by(ledger)

    def _withhold(self, reasons: Mapping[str, str]) -> None:
        """Withhold these GPUs from the kubelet, beside those of an unfinished change."""
        self._withheld = reasons
        left = dict.fromkeys(self._unfinished, "an unfinished change of its MIG instances")
        self._node.change({**left, **reasons})

    async def close(self) -> None:
        """Wait until a change that is under way has ended, but not for ever."""
        self._closing = True
        if not self._at_work:
            return
        _, left = await asyncio.wait(self._at_work, timeout=CLOSE_S)
        self.left_behind = bool(left)
        if self.left_behind:
            logs.warning("mig_change_abandoned", doing="leaving it to the next start")

    @property
    def _order(self) -> Order | None:
        layout = self._label or self._mig.layout
        if layout is None:
            return None
        return Order(layout=layout, mig=self._mig, where=self._where)

    def _forget(self) -> None:
        """Take in that there is no order any more: the GPUs stay as they are."""
        self._withhold({})
        self._reports.say(None)

    async def _lead(self, order: Order) -> Reason | None:
        """Lead the node to a layout; return why it failed."""
        try:
            if self._failed_for is Reason.IN_USE and (await self._assess(order)).blocked:
                # Waited for in vain before: nothing is withheld for it a second time. A kubelet
                # that was silent meanwhile may have had it reported as pending.
                self._reports.say(self._failure)
                return Reason.IN_USE
            assessment = await self._clear(order)
            if assessment is None:
                return None
            if assessment.outcomes:
                await self._carry_out(order, assessment)
        except _SupersededError:
            return None
        except PlumblineError as error:
            return self._failed(order, error)
        except Exception as error:  # noqa: BLE001 - one bad change must not end the serving
            return self._failed(order, HardwareError(f"{type(error).__name__}: {error}"))
        self._withhold({})
        self._report(order, State.SUCCESS, None, "the GPUs are divided so")
        return None

    async def _clear(self, order: Order) -> Assessment | None:
        """Withhold the GPUs of an order and wait until nothing of theirs is in the way.

        None when it is no longer the order. Raises BusyError at the deadline; ConfigError,
        HardwareError.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + order.mig.drain_deadline
        withheld: frozenset[str] = frozenset()
        while self._order == order:
            # What was ordered meanwhile and taken back is no reason to hurry.
            self._ordered.clear()
            assessment = await self._assess(order)
            concerned = frozenset(each.gpu for each in assessment.outcomes)
            if concerned <= withheld and not assessment.blocked:
                return assessment
            blocked = assessment.blocked_text
            if blocked and loop.time() >= until_s:
                raise BusyError(f"{blocked}; waited for {order.mig.drain_deadline:g} s")
            reason = Reason.DRAINING if blocked else Reason.WORKING
            self._report(order, State.PENDING, reason, blocked or "dividing the GPUs")
            if not concerned <= withheld:
                # Looked at again before anything is done: an Allocate may have come between.
                withheld = concerned
                self._withhold(dict.fromkeys(concerned, f"being divided as {order.layout}"))
                continue
            await self._clear_away(order, assessment)
            await self._pause(min(POLL_S, max(until_s - loop.time(), 0.0)))
        return None

    async def _assess(self, order: Order) -> Assessment:
        # The kubelet is asked each time: pods may have ended, or just been given something.
        held = await self._held(order)
        async with self._node.driver:
            return await in_thread(
                self._dividing.assess, order.mig, order.where, order.layout, held
            )

    async def _clear_away(self, order: Order, assessment: Assessment) -> None:
        if self._evict is None or not order.mig.evict:
            return
        holders = {
            holder.removeprefix("pod ")
            for each in assessment.blocked
            for obstacle in each.obstacles
            for holder in obstacle.holders
            if holder.startswith("pod ")
        }
        if holders:
            await self._evict(sorted(holders))

    async def _carry_out(self, order: Order, assessment: Assessment) -> None:
        gpus = tuple(assessment.names[each.gpu] for each in assessment.outcomes)
        logs.event("mig_dividing", layout=order.layout, gpus=gpus)
        await self._to_the_end(self._divide(order, assessment))

    async def _to_the_end(self, work: Coroutine[object, object, T]) -> T:
        """Return what comes of a change; the end of the daemon waits for it (``close``)."""
        if self._closing:
            # Nobody waits for the end of what would begin now.
            work.close()
            never: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            return await never
        task = asyncio.ensure_future(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return await asyncio.shield(task)

    async def _divide(self, order: Order, assessment: Assessment) -> None:
        async with self._node.driver:
            await in_thread(
                self._dividing.carry_out,
                order.mig,
                assessment.goal,
                self._held_now,
            )

    def _held_now(self) -> Held:
        """Return who holds what, as the last question before the first step.

        Raises BusyError when the agent ends: the next instance may give away what we do not see.
        """
        if self._closing:
            raise BusyError("the agent ends; nothing is begun any more")
        return held_by(self._node.ledger)

    def _failed(self, order: Order, error: PlumblineError) -> Reason:
        reason = reason_of(error)
        if self._closing:
            # Whoever comes after us tells how far it is; and keeps back what is not done.
            return reason
        self._withhold({})
        self._failure = self._report(order, State.FAILED, reason, str(error))
        return reason

    def _report(self, order: Order, state: State, reason: Reason | None, message: str) -> Report:
        report = Report(layout=order.layout, state=state, reason=reason, message=message)
        self._reports.say(report)
        return report

    async def _rest(self) -> None:
        """Wait for the next order; after a failure also until trying again makes sense."""
        match self._failed_for:
            case None:
                await self._ordered.wait()
            case Reason.IN_USE | Reason.REFUSED:
                # Not at every pod of a crowd: a look at the GPUs takes the driver's time. Nobody
                # tells when a process has ended that is no pod's.
                await self._pause(min(POLL_S * self._failures, BACK_OFF_S[0]))
                unheard_s = BACK_OFF_S[1] if self._failed_for is Reason.IN_USE else None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(unheard_s):
                        await first_of(self._ordered, self._wake)
            case _:
                await self._pause(BACK_OFF_S[min(self._failures, len(BACK_OFF_S)) - 1])

    async def _pause(self, seconds: float) -> None:
        """Wait a while, or until another order comes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ordered.wait()
