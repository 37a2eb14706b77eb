"""Keeps the node's ResourceSlices as they are to be, and writes nothing while they are."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from agent.cluster.connection import ApiError, Connection
from agent.cluster.slices import change_slices, list_slices, node_uid
from agent.daemon.threads import in_thread
from agent.model.errors import describe
from agent.planning.dra_devices import Offering
from agent.planning.slices import Pool, plan_slices, slice_changes
from agent.telemetry import logs

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_CONFLICT = 409
# How long a kubelet takes after it has taken a driver to connect to it: milliseconds. A pod that it
# gets before that waits for its next try, a minute.
CONNECTED_S = 0.3
# A kubelet that starts removes all slices of its node in the background: looked for again and
# again until it can have ended.
WIPE_LOOKS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class SlicePublisher:
    """Everything here happens on the event loop but the requests themselves."""

    def __init__(
        self,
        connection: Connection,
        node: str,
        driver: str,
        *,
        offering: Callable[[], Offering | None],
        taint_effect: Callable[[], str],
    ) -> None:
        """``offering`` returns what is to be published, None while that is not known."""
        self._connection = connection
        self._node = node
        self._driver = driver
        self._offering = offering
        self._taint_effect = taint_effect
        self._pool: Pool | None = None
        self._is_registered = False
        self._wake = asyncio.Event()
        self._published: tuple[Offering, str] | None = None
        self._looks: list[float] = []
        self._trouble: str | None = None

    def stirred(self) -> None:
        """Take in that what is to be published may have changed."""
        self._wake.set()

    def registered(self) -> None:
        """Take in that a kubelet has taken the driver: one that has just started wipes slices."""
        now_s = asyncio.get_running_loop().time()
        self._looks = [now_s + each for each in WIPE_LOOKS_S]
        self._published = None
        asyncio.get_running_loop().call_later(CONNECTED_S, self._connected)

    def _connected(self) -> None:
        self._is_registered = True
        self._wake.set()

    async def run(self) -> None:
        """Publish whenever there is something to publish, for ever."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._wake.clear()
            try:
                await self._publish()
                self._note(None)
                pause_s = _FIRST_PAUSE_S
                await self._rest()
            except Exception as error:  # noqa: BLE001 - a loop that ended would publish nothing
                conflict = isinstance(error, ApiError) and error.status == _CONFLICT
                if not conflict:
                    self._note(describe(error))
                after_s = error.retry_after_s if isinstance(error, ApiError) else None
                self._published = None
                await asyncio.sleep(after_s or pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - spread
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _rest(self) -> None:
        """Wait for a change, or for the next look for a wipe."""
        now_s = asyncio.get_running_loop().time()
        self._looks = [each for each in self._looks if each > now_s]
        pause_s = self._looks[0] - now_s if self._looks else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
            return
        self._published = None

    async def _publish(self) -> None:
        offering, effect = self._offering(), self._taint_effect()
        if offering is None or not self._is_registered or (offering, effect) == self._published:
            return
        if self._pool is None:
            uid = await in_thread(node_uid, self._connection, self._node)
            self._pool = Pool(driver=self._driver, node=self._node, node_uid=uid)
        wanted = plan_slices(offering, self._pool, effect)
        there = await in_thread(list_slices, self._connection, self._node, self._driver)
        changes = slice_changes(wanted, there)
        if changes:
            await in_thread(change_slices, self._connection, changes)
            logs.event(
                "slices_published",
                driver=self._driver,
                devices=len(offering.devices),
                created=len(changes.create),
                updated=len(changes.update),
                deleted=len(changes.delete),
            )
        self._published = offering, effect

    def _note(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is None:
                logs.event("slices_reachable", driver=self._driver)
            else:
                logs.error(
                    "slices_not_published",
                    driver=self._driver,
                    error=trouble,
                    doing="trying again",
                )
