"""Keeps the snapshot true: looks at the node, and again whenever something changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from agent.config.problems import Problem, refuse
from agent.config.schema import Config
from agent.config.xids import ignored_xids
from agent.daemon.asking import Asking
from agent.daemon.lookout import Lookout
from agent.daemon.threads import in_thread
from agent.daemon.xids import struck_by
from agent.discovery.events import (
    GpusChanged,
    NicsChanged,
    Observation,
    UnattributedXid,
    UnwatchedGpu,
    WatchFault,
    XidEvent,
)
from agent.ledger.ledger import Account, Ledger
from agent.model.errors import DriverReplacedError, NoDriverError, describe
from agent.model.machine import Machine
from agent.planning.health import Health
from agent.planning.mps import NOTHING_SERVED, Served
from agent.planning.reasons import ABSENT
from agent.planning.snapshot import Snapshot, build_snapshot
from agent.telemetry import logs

BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
# A driver may stumble once; GPUs are marked when it keeps on failing.
FAILURES_TO_MARK = 3
# A look takes well under a second, also on large machines.
SLOW_LOOK_S = 10.0
# How long a GPU that had left must answer again until it is trusted: one that comes and goes must
# not be given to a pod each time.
STEADY_S = 10.0
# How long claims are gathered before what is offered follows them.
CLAIMS_GATHER_S = 0.02
# How long the end waits for the driver to let go.
CLOSE_S = 1.2


class Node:
    """The node's state: one snapshot, replaced in whole.

    Everything here happens on the event loop but the reading itself. ``publish`` is called on
    the loop with every new snapshot.
    """

    def __init__(
        self,
        machine: Machine,
        config: Config,
        *,
        in_charge: asyncio.Event,
        holders: Callable[[], Awaitable[Account | None]],
        prepare: Callable[[Snapshot], None],
        publish: Callable[[Snapshot], None],
        confirmed: Callable[[Account], None],
    ) -> None:
        """Remember what to watch; ``start`` does the first look.

        Until ``in_charge`` is set, the node is read and watched, and nothing is made of it:
        another instance serves it.
        ``holders`` returns what containers hold, None when that cannot be known.
        ``prepare`` runs on a worker thread before a snapshot is published: files that must
        exist by the time a container is started with what the snapshot offers.
        ``confirmed`` is called when the kubelet has said who holds what.
        """
        self.snapshot: Snapshot | None = None
        self.left_behind = False
        """True after ``close`` when a thread is still inside the driver or the native core."""
        self._config = config
        self._in_charge = in_charge
        self._prepare = prepare
        self._publish = publish
        self._confirmed = confirmed
        self._holders = holders
        self.ledger = Ledger()
        """Who holds what, as far as is known at this moment."""
        self.driver = asyncio.Lock()
        """Held by whoever reads the node or divides its GPUs: never both at once."""
        self._health = self._looked_from = Health()
        self._changing: Mapping[str, str] = {}
        self._changed: dict[str, str] = {}
        """What has been changing since the last look began, also what is no more."""
        self._served = NOTHING_SERVED
        self._unplaced: list[XidEvent] = []
        self._following: asyncio.TimerHandle | None = None
        self._returning: dict[str, asyncio.TimerHandle] = {}
        self._asking = Asking()
        self._stirred = asyncio.Event()
        self._lookout = Lookout(machine, self._hand_over)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking = False
        self._wanted = asyncio.Event()

    async def start(self) -> None:
        """Look once, and publish that when in charge.

        Raises HardwareError (NoDriverError) when the look fails.
        """
        self._loop = asyncio.get_running_loop()
        await self._look()

    async def run(self) -> None:
        """Look again whenever asked to; a look that fails keeps the last good snapshot.

        Raises DriverReplacedError when only a new process can go on.
        """
        failures = 0
        while True:
            await self._wait(failures)
            self._wanted.clear()
            try:
                await self._look()
                failures = 0
            except DriverReplacedError:
                raise
            except Exception as error:  # noqa: BLE001 - one bad look must not end the serving
                failures += 1
                self._note_failure(error, failures)

    async def close(self) -> None:
        """Let go of the driver; a driver that hangs is left as it is."""
        if self.left_behind:
            return
        if self._looking:
            self.left_behind = True
            logs.warning("look_abandoned", reason="the node has not been read to the end")
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                at_rest = await in_thread(self._lookout.close)
        except TimeoutError:
            at_rest = False
        self.left_behind = not at_rest

    def refresh(self, config: Config | None = None) -> None:
        """Ask for a new look, with a new configuration where one is given."""
        if config is not None:
            self._config = config
        self._wanted.set()

    def change(self, reasons: Mapping[str, str]) -> None:
        """Take in which GPUs are being divided anew from now on, by UUID, each with the reason.

        They are offered as unhealthy at once. One that is named no longer returns with the next
        look, in one message: before it, what is known of the GPU is what it was.
        """
        self._changing = dict(reasons)
        self._changed |= reasons
        if self.snapshot is None:
            return
        changing = {**self.snapshot.changing, **reasons}
        if changing != self.snapshot.changing:
            self._swap(self.snapshot.with_state(self._health, self.ledger, changing=changing))
        if changing != reasons:
            self.refresh()

    def claimed(self, claims: Mapping[str, str]) -> None:
        """Take in which GPUs ResourceClaims have: names by UUID.

        Nobody else is given them from now on; what is offered follows in a moment, once for all
        claims that came or went at once.
        """
        self.ledger = self.ledger.with_claims(claims)
        if self._following is None and self.snapshot is not None:
            self._following = asyncio.get_running_loop().call_later(
                CLAIMS_GATHER_S, self._follow_claims
            )

    def _follow_claims(self) -> None:
        self._following = None
        if self.snapshot is not None:
            self._swap(self.snapshot.with_state(self._health, self.ledger))

    def serve(self, served: Served) -> None:
        """Take in which GPUs MPS daemons serve from now on."""
        if served == self._served:
            return
        self._served = served
        if self.snapshot is not None:
            self._swap(self.snapshot.with_state(self._health, self.ledger, served=served))

    async def accounted(self) -> Ledger | None:
        """Ask the kubelet who holds what; None while it does not say, or may not know it yet."""
        account = await self._account()
        return self.ledger if account is not None and account.settled else None

    def let_go(self) -> None:
        """Close the driver, on a worker thread that has ``driver``: the next look opens it."""
        self._lookout.close()

    def granted(self, resource: str, devices: Sequence[str]) -> None:
        """Take in what an Allocate gave away."""
        now_s = asyncio.get_running_loop().time()
        self.ledger = self.ledger.with_grant(resource, devices, at_s=now_s)
        self._asking.moved(now_s)
        self._stirred.set()

    def outdated(self) -> None:
        """Take in that the kubelet offers what the ledger takes for held: pods have ended."""
        self._asking.moved(asyncio.get_running_loop().time())
        self._stirred.set()

    def kubelet_restarted(self) -> None:
        """Take in that another kubelet serves the node: it may have forgotten what pods hold."""
        self._asking.restarted(asyncio.get_running_loop().time())
        self._stirred.set()

    def note(self, observation: Observation) -> None:
        """Take in what the watch saw."""
        match observation:
            case XidEvent():
                self._note_xid(observation)
            case GpusChanged():
                logs.event("gpus_changed")
                self.refresh()
            case NicsChanged():
                logs.event("nics_changed")
                self.refresh()
            case UnattributedXid(xid=xid, reason=reason):
                logs.warning("xid_unattributed", xid=xid, reason=reason)
                self.refresh()
            case UnwatchedGpu(uuid=uuid, reason=reason, faulty=faulty):
                logs.warning("gpu_unwatched", gpu=uuid, reason=reason, marked_unhealthy=faulty)
                if faulty:
                    self._apply(self._health.marked(uuid, f"its Xids cannot be heard: {reason}"))
            case WatchFault(reason=reason):
                logs.error("watch_failed", reason=reason)
                self.refresh()

    def _note_xid(self, event: XidEvent) -> None:
        ignored = ignored_xids(self._config.plumbline)
        if event.xid in ignored:
            # An application can raise these as fast as it likes.
            logs.debug("xid_ignored", gpu=event.uuid, xid=event.xid)
            return
        struck = struck_by(event, self.snapshot)
        logs.warning("xid", gpu=event.uuid, xid=event.xid, struck=struck or "an unknown instance")
        if not struck:
            self._unplaced.append(event)
            self.refresh()
        self._mark(struck, event.xid)

    def _mark(self, struck: Iterable[str], xid: int) -> None:
        health = self._health
        for uuid in struck:
            health = health.after_xid(uuid, xid, ())
        self._apply(health)

    def remember_xids(self, xids: Mapping[str, int]) -> None:
        """Take in what Xids had marked before this process began."""
        ignored = ignored_xids(self._config.plumbline)
        health = self._health
        for uuid, xid in xids.items():
            health = health.after_xid(uuid, xid, ignored)
        if health is self._health:
            return
        logs.warning(
            "xids_remembered",
            xids=tuple(f"{uuid}: {xid}" for uuid, xid in sorted(xids.items())),
            doing="leaving them marked until they have left and are back, a SIGHUP, or a reboot",
        )
        self._apply(health)

    @property
    def xids(self) -> Mapping[str, int]:
        """What Xids have marked, by UUID."""
        return self._health.xids

    def forgive_xids(self) -> None:
        """Take GPUs for mended that an Xid had marked: somebody says so."""
        mended = self._health.forgiven()
        if gone := self._health.xids.keys() - mended.xids.keys():
            logs.event("xids_forgiven", gpus=tuple(sorted(gone)))
            self._apply(mended)

    def _place_xids(self) -> None:
        """Mark instances that had an Xid before they were seen: one look after it they are."""
        unplaced, self._unplaced = self._unplaced, []
        for event in unplaced:
            struck = struck_by(event, self.snapshot)
            if not struck:
                logs.warning("xid_unattributed", xid=event.xid, reason="its instance is no more")
            self._mark(struck, event.xid)

    def _note_returns(self) -> None:
        """Begin to trust GPUs that had left and answer again; forget those that left once more."""
        if self.snapshot is None:
            return
        present = {gpu.uuid for gpu in self.snapshot.inventory.gpus}
        for uuid in self._returning.keys() - present:
            self._returning.pop(uuid).cancel()
        loop = asyncio.get_running_loop()
        for uuid in (self._health.absent & present) - self._returning.keys():
            logs.event("gpu_back", gpu=uuid, trusted_in_s=STEADY_S)
            self._returning[uuid] = loop.call_later(STEADY_S, self._trust, uuid)

    def _trust(self, uuid: str) -> None:
        del self._returning[uuid]
        instances = self.snapshot.instances.values() if self.snapshot else ()
        parts = [each.uuid for each in instances if each.parent.uuid == uuid]
        health = self._health.back(uuid, parts)
        if health is not self._health:
            logs.event("gpu_trusted", gpu=uuid)
        self._apply(health)

    def _note_failure(self, error: Exception, failures: int) -> None:
        what = describe(error)
        logs.error("look_failed", error=what, failures=failures, keeping=self._generation())
        if isinstance(error, NoDriverError) or failures >= FAILURES_TO_MARK:
            self._apply(self._health.with_driver_fault(what))

    def _apply(self, health: Health) -> None:
        """Publish a changed health at once, without a look."""
        if health is self._health:
            return
        self._health = health
        if self.snapshot is not None:
            self._swap(self.snapshot.with_state(health, self.ledger))

    async def _wait(self, failures: int) -> None:
        """Wait until a look is due; meanwhile see GPUs come free of their old names."""
        if failures:
            pause_s = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
            return
        while not self._wanted.is_set():
            await self._follow_or_rest()

    async def _follow_or_rest(self) -> None:
        self._stirred.clear()
        pause_s = self._asking.pause_s(
            self.ledger,
            withholds=self.snapshot is not None and bool(self.snapshot.catalog.withheld),
            now_s=asyncio.get_running_loop().time(),
        )
        try:
            # Not wait_for, which in Python 3.11 loses a cancellation that comes with the event.
            async with asyncio.timeout(pause_s):
                await first_of(self._wanted, self._stirred)
        except TimeoutError:
            await self._follow()

    async def _follow(self) -> None:
        before = self.ledger
        await self._account()
        if self.ledger != before and self.snapshot is not None:
            fresh = self.snapshot.with_state(self._health, self.ledger)
            if fresh.catalog != self.snapshot.catalog:
                self._swap(fresh)

    async def _account(self) -> Account | None:
        """Ask the kubelet who holds what; return its answer."""
        account = await self._holders()
        self._asking.answered(account)
        if account is None:
            return None
        before, self.ledger = self.ledger, self.ledger.reconciled(account)
        self._confirmed(account)
        if self.ledger != before:
            logs.debug(
                "holders",
                held=len(self.ledger.confirmed),
                unseen=len(self.ledger.unseen),
                unconfirmed=len(self.ledger.grants),
            )
        return account

    async def _look(self) -> None:
        # What health was when the look began is merged here with what it has become.
        ready = await self._found()
        seen = {gpu.uuid for gpu in (*ready.inventory.gpus, *ready.departed)}
        self._health = self._health.after_look(self._looked_from, ready.health).gone_unseen(
            seen, ABSENT
        )
        await self._account()
        await self._prepared(ready)
        # What changes now, and what did since the look began: the look may not have seen its end.
        changing = {**ready.changing, **self._changed}
        self._swap(
            ready.with_state(self._health, self.ledger, changing=changing, served=self._served)
        )
        self._place_xids()
        self._note_returns()
        if changing.keys() - self._changing.keys():
            self.refresh()

    async def _found(self) -> Snapshot:
        """Return what a look found, once this instance is in charge and it is still true."""
        while True:
            ready = await self._found_now()
            logs.debug("node_read", gpus=len(ready.inventory.gpus))
            if self._in_charge.is_set():
                return ready
            await first_of(self._in_charge, self._wanted)
            if not self._wanted.is_set():
                return ready
            self._wanted.clear()

    async def _found_now(self) -> Snapshot:
        async with self.driver:
            self._looking = True
            self._looked_from = self._health
            self._changed = dict(self._changing)
            slow = asyncio.get_running_loop().call_later(SLOW_LOOK_S, self._note_slow)
            try:
                return await in_thread(
                    self._read,
                    self._config,
                    self._health,
                    self.snapshot,
                    self._changing,
                    self._served,
                )
            finally:
                slow.cancel()

    def _read(
        self,
        config: Config,
        health: Health,
        previous: Snapshot | None,
        changing: Mapping[str, str],
        served: Served,
    ) -> Snapshot:
        try:
            inventory = self._lookout.look(config)
        finally:
            # Said by the thread itself: it may outlive the task that waited for it.
            self._looking = False
        ready = build_snapshot(
            config,
            inventory,
            health.with_driver_fault(None),
            previous=previous,
            changing=changing,
            served=served,
        )
        return _with_sharing_that_fits(ready, previous)

    async def _prepared(self, ready: Snapshot) -> None:
        try:
            await in_thread(self._prepare, ready)
        except BaseException:
            # What the look found out about health is published even so: a full disk must not
            # keep a lost GPU on offer.
            if self.snapshot is not None and self.snapshot.health != self._health:
                self._swap(self.snapshot.with_state(self._health, self.ledger))
            raise

    def _note_slow(self) -> None:
        logs.warning("look_slow", seconds=SLOW_LOOK_S, doing="waiting for the driver")

    def _swap(self, snapshot: Snapshot) -> None:
        after = self._generation() or 0
        self.snapshot = replace(snapshot, generation=max(snapshot.generation, after + 1))
        self._publish(self.snapshot)

    def _generation(self) -> int | None:
        return self.snapshot.generation if self.snapshot else None

    def _hand_over(self, seen: Observation) -> None:
        """Pass an observation from a watching thread to the loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self.note, seen)


def _with_sharing_that_fits(ready: Snapshot, previous: Snapshot | None) -> Snapshot:
    """Return a snapshot whose sharing fits the node: the former one where the new does not.

    Raises ConfigError when it has not fitted from the start. What fitted once and does no more,
    because a GPU is gone, is left out.
    """
    unfit = ready.catalog.shared.unfit
    if not unfit:
        return ready
    if previous is None:
        refuse(Problem(where="", path=each.path, message=each.message) for each in unfit)
    said = "; ".join(f"{each.path}: {each.message}" for each in unfit)
    before = ready.config if previous is None else previous.config
    if before.sharing == ready.config.sharing:
        if previous is None or previous.catalog.shared.unfit != unfit:
            logs.warning("sharing_unfit", problems=said, doing="offering those devices whole")
        return ready
    logs.error("config_refused", why="sharing", error=said, doing="keeping the previous sharing")
    return ready.with_config(replace(ready.config, sharing=before.sharing))


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
