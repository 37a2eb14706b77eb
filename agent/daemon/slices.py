"""Keeps a driver's ResourceSlices as they are to be, and writes nothing while they are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from msgspec.structs import replace

from agent.cluster.connection import ApiError, Connection
from agent.cluster.slices import NodeSlices, change_slices, node_uid, server_version
from agent.daemon.threads import in_thread
from agent.model.errors import describe
from agent.planning.api_abilities import ApiAbilities, dropped_features, reduced
from agent.planning.dra_devices import Offering
from agent.planning.dra_order import differs_in_order, kept_order
from agent.planning.slices import (
    Pool,
    SliceChanges,
    Written,
    is_kept_otherwise,
    plan_slices,
    slice_changes,
)
from agent.telemetry import logs

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_CONFLICT = 409
# How long a kubelet takes after it has taken a driver to connect to it: milliseconds. A pod that it
# gets before that waits for its next try, a minute.
CONNECTED_S = 0.1
# A better order of what is free can wait until claims have stopped coming and going.
ORDER_PAUSE_S = 1.0


class SlicePublisher:
    """Everything here happens on the event loop but the requests themselves."""

    def __init__(
        self,
        connection: Connection,
        there: NodeSlices,
        node: str,
        driver: str,
        *,
        offering: Callable[[], Offering | None],
        taint_effect: Callable[[], str],
    ) -> None:
        """``there`` is what the API server has; whoever follows it calls ``stirred``.

        ``offering`` returns what is to be published, None while that is not known.
        """
        self._connection = connection
        self._there = there
        self._node = node
        self._driver = driver
        self._offering = offering
        self._taint_effect = taint_effect
        self._pool: Pool | None = None
        self._abilities = ApiAbilities()
        self._registrations = 0
        self._is_connected = False
        self._connecting: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._published: Offering | None = None
        self._written: dict[str, Written] = {}
        self._order_due_s: float | None = None
        self._trouble: str | None = None

    def stirred(self) -> None:
        """Take in that what is published, or is to be, may have changed."""
        self._wake.set()

    def registered(self) -> None:
        """Take in that a kubelet has taken the driver: server and node may be others by now."""
        self._pool = None
        self._registrations += 1
        self._is_connected = False
        if self._connecting is not None:
            self._connecting.cancel()
        self._connecting = asyncio.get_running_loop().call_later(CONNECTED_S, self._connected)
        self._wake.set()

    def _connected(self) -> None:
        self._is_connected = True
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
                await self._wake.wait()
            except Exception as error:  # noqa: BLE001 - a loop that ended would publish nothing
                conflict = isinstance(error, ApiError) and error.status == _CONFLICT
                if not conflict:
                    self._note(describe(error))
                after_s = error.retry_after_s if isinstance(error, ApiError) else None
                await asyncio.sleep(after_s or pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - spread
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _publish(self) -> None:
        if not self._registrations:
            return
        if self._pool is None:
            # While the kubelet connects.
            await self._look_around()
        pool, offering, there = self._pool, self._offering(), self._there.of(self._driver)
        if pool is None or offering is None or there is None or not self._is_connected:
            return
        offering = self._ordered(offering)
        held = reduced(offering, self._abilities)
        wanted = plan_slices(held, pool, self._taint_effect(), self._abilities)
        changes = slice_changes(wanted, there, self._written)
        if changes:
            written = await in_thread(change_slices, self._connection, changes, self._there)
            self._written |= {each.sent["metadata"]["name"]: each for each in written}
            if not self._take_in_dropped(written):
                self._tell_published(held, changes, written)
        self._published = offering

    def _tell_published(
        self, held: Offering, changes: SliceChanges, written: tuple[Written, ...]
    ) -> None:
        logs.event(
            "slices_published",
            driver=self._driver,
            devices=len(held.devices),
            created=len(changes.create),
            updated=len(changes.update),
            deleted=len(changes.delete),
        )
        otherwise = [each.sent["metadata"]["name"] for each in written if is_kept_otherwise(each)]
        if otherwise:
            logs.warning(
                "slices_kept_otherwise",
                driver=self._driver,
                slices=otherwise,
                doing="leaving them as the API server keeps them; a webhook may have changed them",
            )

    async def _look_around(self) -> None:
        """Find out whose slices they are, and what the server is. Raises ClusterError.

        A registration meanwhile makes the answer void: the pool stays unknown.
        """
        registrations = self._registrations
        version = await in_thread(server_version, self._connection)
        if version != self._abilities.version:
            self._abilities = ApiAbilities(version=version)
        uid = await in_thread(node_uid, self._connection, self._node)
        if registrations == self._registrations:
            self._pool = Pool(driver=self._driver, node=self._node, node_uid=uid)

    def _ordered(self, offering: Offering) -> Offering:
        """Return an offering in the order in which it is to be published now."""
        before = self._published
        if before is None:
            return offering
        offering = kept_order(offering, before)
        if not differs_in_order(offering, before):
            self._order_due_s = None
            return offering
        loop = asyncio.get_running_loop()
        if self._order_due_s is None:
            self._order_due_s = loop.time() + ORDER_PAUSE_S
            loop.call_at(self._order_due_s, self._wake.set)
        if loop.time() < self._order_due_s:
            by_name = {each.name: each for each in offering.devices}
            return replace(offering, devices=tuple(by_name[each.name] for each in before.devices))
        self._order_due_s = None
        return offering

    def _take_in_dropped(self, written: tuple[Written, ...]) -> bool:
        """Take in what the server dropped of it; what is left is published at once.

        Returns False when that is nothing.
        """
        found = {feature for each in written for feature in dropped_features(each.sent, each.kept)}
        if fresh := found - self._abilities.dropped:
            logs.error(
                "slices_cut",
                driver=self._driver,
                server=".".join(map(str, self._abilities.version)),
                gates=tuple(sorted(fresh)),
                doing="offering what is safe without; turn these feature gates of the API server"
                " and the scheduler on to have the rest",
            )
            self._abilities = replace(self._abilities, dropped=self._abilities.dropped | fresh)
            self._wake.set()
        return bool(fresh)

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
