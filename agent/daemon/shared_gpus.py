"""Has GPUs shared as the configuration says: time slices set, MPS daemons started and watched.

What is shared through MPS is offered once its daemon answers, and what is not once none serves
it any more. Nothing is ended when the agent ends: daemons outlive it, and the next one finds
them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from agent.daemon.back_off import BackOff
from agent.daemon.dividing import held_by
from agent.daemon.threads import in_thread
from agent.model.errors import HardwareError, describe
from agent.planning.mps import Served
from agent.planning.mps_steps import Taken, plan_mps
from agent.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.config.schema import Flags
    from agent.daemon.mps_watch import MpsWatch
    from agent.daemon.node import Node
    from agent.daemon.time_slicing import TimeSlicing
    from agent.model.machine import Machine
    from agent.partition.mps_sets import MpsSets
    from agent.planning.mps import MpsSet, Rendezvous
    from agent.planning.snapshot import Snapshot

# How often is looked whether what is watched is there, and whether what is waited for is over.
POLL_S = 2.0
# How long the end waits for what is being done; the records know the rest.
CLOSE_S = 1.2


class SharedGpus:
    """Everything here happens on the event loop but the doing itself."""

    def __init__(self, machine: Machine, flags: Flags, *, node: Node) -> None:
        """Prepare; ``flags`` are those of the start."""
        self._machine = machine
        self._flags = flags
        self._node = node
        self._watches: dict[str, MpsWatch] = {}
        self._waiting: Mapping[str, str] = {}
        """Why GPUs cannot be given, by UUID: for a daemon to start or to end, pods must."""
        self._refused: dict[str, str] = {}
        """Why sets could not be taken over, by name."""
        self._back_offs: dict[str, BackOff] = {}
        self._slicing: TimeSlicing | None = None
        self._wake = asyncio.Event()
        self._failed = False
        self._at_work: asyncio.Task[None] | None = None
        self.left_behind = False
        """True after ``close`` when a thread is still at work."""

    def slice_fault(self, gpu: str) -> str | None:
        """Return why the time slice of a GPU is not in force; None where it is."""
        return self._slicing.faults.get(gpu) if self._slicing else None

    def mps_pid(self, name: str) -> int | None:
        """Return which process the daemon of a set is; None when it is not known to live."""
        watch = self._watches.get(name)
        return watch.pid if watch else None

    def stirred(self) -> None:
        """Take in that the node or its pods have changed."""
        self._wake.set()

    async def take_in(self) -> None:
        """Find the daemons that an earlier instance left, before anything is offered.

        One that lives and knows its limits serves from the first moment: an agent that starts anew
        is no news to pods.
        """
        if not self._machine.path("/var/lib/plumbline/mps").is_dir():
            return
        try:
            found, faults = await in_thread(self._sets().read)
        except HardwareError as error:
            found, faults = (), (str(error),)
        for fault in faults:
            logs.error("mps_unknown", error=fault, doing="going on with what is known")
        for taken, limited in found:
            watch = self._watch(taken)
            if limited:
                await watch.find()
        self._tell()

    async def run(self) -> None:
        """Lead the node to what is configured, for ever."""
        while True:
            self._wake.clear()
            self._at_work = asyncio.create_task(self._round())
            self._failed = False
            try:
                await asyncio.shield(self._at_work)
            except Exception as error:  # noqa: BLE001 - sharing that fails must not end the serving
                self._failed = True
                logs.error("sharing_failed", error=describe(error), doing="trying again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()

    async def close(self) -> None:
        """Wait until what is being done is done, but not for long."""
        if self._at_work is None or self._at_work.done():
            return
        done, _ = await asyncio.wait([self._at_work], timeout=CLOSE_S)
        self.left_behind = not done

    def _pause_s(self) -> float | None:
        failing = self._failed or (self._slicing is not None and self._slicing.faults)
        return POLL_S if self._watches or self._waiting or self._refused or failing else None

    async def _round(self) -> None:
        snapshot = self._node.snapshot
        if snapshot is not None:
            await self._set_time_slices(snapshot)
            await self._serve_mps(snapshot)

    async def _set_time_slices(self, snapshot: Snapshot) -> None:
        shares = snapshot.catalog.shared.by_device
        if self._slicing is None:
            written = self._machine.path("/var/lib/plumbline/time-slices").is_dir()
            if not written and all(each.time_slice is None for each in shares.values()):
                return
            # Imported here, as below: a node that does not need it does not pay for it.
            from agent.daemon.time_slicing import TimeSlicing  # noqa: PLC0415
            from agent.partition.time_slices import TimeSlices  # noqa: PLC0415

            self._slicing = TimeSlicing(TimeSlices(self._machine))
        await self._slicing.lead(shares)

    async def _serve_mps(self, snapshot: Snapshot) -> None:
        wanted = snapshot.catalog.mps_sets
        if not (wanted or self._watches or self._refused or self._waiting):
            return
        taken = [watch.taken for watch in self._watches.values()]
        steps = plan_mps(wanted, taken, held_by(self._node.ledger))
        if steps.begin or steps.end:
            # The kubelet is asked only where it matters: whether nobody holds what changes.
            ledger = await self._node.accounted()
            steps = plan_mps(wanted, taken, None if ledger is None else held_by(ledger))
        self._waiting = steps.waiting
        beginning = {each.name for each in steps.begin}
        self._refused = {name: why for name, why in self._refused.items() if name in beginning}
        self._tell()
        for ending in steps.end:
            if await self._watches[ending.set.name].end():
                del self._watches[ending.set.name]
                self._wake.set()  # What waited for it begins now.
        # At once: one that hangs, or takes long to start, is no reason for others to wait.
        keeping = (self._watches[going.set.name].keep(going) for going in steps.keep)
        await asyncio.gather(*keeping, *(self._begin(new) for new in steps.begin))
        self._tell()

    async def _begin(self, new: MpsSet) -> None:
        back_off = self._back_offs.setdefault(new.name, BackOff())
        if back_off.waits:
            return
        try:
            async with self._node.driver:
                taken = await in_thread(self._sets().take, new)
        except Exception as error:  # noqa: BLE001 - one set that fails is no matter of the others
            said = describe(error)
            if self._refused.get(new.name) != said:
                logs.error("mps_refused", set=new.name, error=said, doing="trying again")
            self._refused[new.name] = said
            back_off.failed()
            return
        del self._back_offs[new.name]
        self._refused.pop(new.name, None)
        await self._watch(taken).keep(taken)

    def _tell(self) -> None:
        """Have offered what is served now."""
        snapshot = self._node.snapshot
        wanted = snapshot.catalog.mps_sets if snapshot else ()
        reasons = {
            gpu: self._refused[each.name]
            for each in wanted
            if each.name in self._refused
            for gpu in each.gpus
        }
        rendezvous: dict[str, Rendezvous] = {}
        for watch in self._watches.values():
            rendezvous |= dict.fromkeys(watch.taken.set.gpus, watch.daemon.rendezvous)
            reasons |= watch.faults
        self._node.serve(Served(rendezvous=rendezvous, reasons={**reasons, **self._waiting}))

    def _watch(self, taken: Taken) -> MpsWatch:
        from agent.daemon.mps_watch import MpsWatch  # noqa: PLC0415
        from agent.partition.mps_daemon import MpsDaemon  # noqa: PLC0415

        daemon = MpsDaemon(
            self._machine,
            taken.set,
            self._machine.path(self._flags.mps_folder),
            host_driver_root=self._flags.nvidia_driver_root,
        )
        watch = self._watches[taken.set.name] = MpsWatch(
            taken,
            daemon,
            self._sets(),
            driver=self._node.driver,
            is_held=self._is_held,
            changed=self._tell,
            stirred=self._wake.set,
        )
        return watch

    async def _is_held(self, taken: Taken) -> bool:
        ledger = await self._node.accounted()
        held = None if ledger is None else held_by(ledger)
        return held is None or any(held.get(gpu) for gpu in taken.set.gpus)

    def _sets(self) -> MpsSets:
        from agent.partition.mps_sets import MpsSets  # noqa: PLC0415

        return MpsSets(self._machine)
