"""Keeps one set's MPS daemon serving: finds it, starts it, hears of its death, asks it, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from agent.daemon.back_off import BackOff
from agent.daemon.threads import in_thread
from agent.model.errors import HardwareError, describe
from agent.partition.mps_daemon import MpsDaemon
from agent.partition.mps_sets import MpsSets
from agent.planning.mps_steps import Taken
from agent.telemetry import logs

# How often a daemon is asked whether it answers: it takes a process each time.
ASK_S = 30.0
# A daemon may be slow once.
SILENCES_TO_FAIL = 2


class MpsWatch:
    """The daemon of GPUs that were taken over.

    ``fault`` is why it does not serve, None while it does. ``changed`` is called when that
    changes, and ``stirred`` when it is to be looked after at once.
    """

    def __init__(
        self,
        taken: Taken,
        daemon: MpsDaemon,
        sets: MpsSets,
        *,
        driver: asyncio.Lock,
        is_held: Callable[[Taken], Awaitable[bool]],
        changed: Callable[[], None],
        stirred: Callable[[], None],
    ) -> None:
        """``is_held`` says whether pods may hold GPUs of the set."""
        self.taken = taken
        self.daemon = daemon
        self.fault: str | None = "its MPS daemon has not started yet"
        self.pid: int | None = None
        self._sets = sets
        self._driver = driver
        self._is_held = is_held
        self._changed = changed
        self._stirred = stirred
        self._descriptor: int | None = None
        self._dead = False
        self._in_order = False
        """True once this process has told the daemon its limits."""
        self._asked_s = 0.0
        self._silences = 0
        self._back_off = BackOff()

    @property
    def faults(self) -> Mapping[str, str]:
        """Return why no more of its GPUs may be given, by UUID."""
        return {} if self.fault is None else dict.fromkeys(self.taken.set.gpus, self.fault)

    async def find(self) -> None:
        """Look for a living daemon, and listen for its death."""
        self.deafen()
        self.pid = pid = await in_thread(self.daemon.control)
        if pid is None:
            return
        with contextlib.suppress(OSError):  # It has died since: there is none.
            self._descriptor = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(self._descriptor, self._heard_death)
            self._dead = False
            self.fault = None

    async def keep(self, wanted: Taken) -> None:
        """See that the daemon serves, with the limits that it is to have."""
        if wanted != self.taken:
            self.taken, self.daemon.set, self._in_order = wanted, wanted.set, False
        if self._back_off.waits:
            return
        try:
            await self._check()
            if self.fault is not None or not self._in_order:
                await self._bring_up()
                self._changed()
        except Exception as error:  # noqa: BLE001 - one set that fails is no matter of the others
            self._note(describe(error), "trying again")

    async def end(self) -> bool:
        """End the daemon and put back what its GPUs were; return whether that was done."""
        if self._back_off.waits:
            return False
        self.fault = "its MPS daemon is ending"
        self._changed()
        try:
            await in_thread(self.daemon.end)
            async with self._driver:
                await in_thread(self._sets.release, self.taken)
        except Exception as error:  # noqa: BLE001 - as above
            self._note(f"its MPS daemon has not ended: {describe(error)}", "trying again")
            return False
        self.deafen()
        logs.event("mps_ended", set=self.taken.set.name, gpus=self.taken.set.gpus)
        return True

    def deafen(self) -> None:
        """Listen no longer for the daemon's death."""
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _heard_death(self) -> None:
        self.deafen()
        self.pid, self._dead = None, True
        self._stirred()

    def _note(self, fault: str, doing: str) -> None:
        if self._back_off.failures == 0:
            logs.error("mps_failed", set=self.taken.set.name, error=fault, doing=doing)
        self._back_off.failed()
        self.fault = fault
        self._changed()

    async def _check(self) -> None:
        if self.fault is not None:
            return
        fault = await self._found_fault()
        if fault is not None:
            logs.error("mps_failed", set=self.taken.set.name, error=fault, doing="starting it anew")
            self.fault = fault
            self._changed()

    async def _found_fault(self) -> str | None:
        if self._dead:
            return "its MPS daemon has died"
        if not Path(self.daemon.pipe).is_dir():  # noqa: ASYNC240 - on memory
            return "the folder of its MPS daemon is gone"
        if self._silences or _now_s() >= self._asked_s + ASK_S:
            self._asked_s = _now_s()
            silence = await in_thread(self.daemon.answers)
            self._silences = self._silences + 1 if silence else 0
            if self._silences >= SILENCES_TO_FAIL:
                return silence
        return None

    async def _bring_up(self) -> None:
        """Make a daemon serve: the one that lives and answers, or a new one."""
        async with self._driver:
            await in_thread(self._sets.hold, self.taken)
        found = await self._usable()
        if not found:
            await in_thread(self.daemon.start)
        await in_thread(self.daemon.limit)
        await in_thread(self._sets.record, self.taken, limited=True)
        await self.find()
        if self.fault is not None:
            raise HardwareError(f"the MPS daemon of {self.taken.set.name} died at once")
        self._in_order, self._silences, self._asked_s = True, 0, _now_s()
        self._back_off.succeeded()
        logs.event("mps_serving", set=self.taken.set.name, gpus=self.taken.set.gpus, found=found)

    async def _usable(self) -> bool:
        """Return True when there is a daemon that answers, False when there is none.

        One that does not answer is ended, unless it has a server and pods hold its GPUs: clients
        that are connected work on, and would lose their work. Raises HardwareError then.
        """
        alive = await in_thread(self.daemon.control) is not None
        silence = await in_thread(self.daemon.answers) if alive else None
        if alive and silence is None:
            return True
        held = await self._is_held(self.taken)
        connected = alive and held and bool(await in_thread(self.daemon.servers))
        if connected:
            raise HardwareError(f"{silence}; it is started anew once its clients have ended")
        if alive or not held:
            await in_thread(self.daemon.kill)
        return False


def _now_s() -> float:
    return asyncio.get_running_loop().time()
