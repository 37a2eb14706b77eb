"""Keeps the snapshot true: looks at the node, and again whenever something changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from agent.config.schema import Config
from agent.config.xids import ignored_xids
from agent.discovery.events import (
    GpusChanged,
    Observation,
    UnattributedXid,
    Watch,
    WatchFault,
    XidEvent,
)
from agent.discovery.inventory import observe
from agent.discovery.library import Session
from agent.model.errors import PlumblineError
from agent.model.machine import Machine
from agent.planning.health import Health
from agent.planning.snapshot import Snapshot, build_snapshot
from agent.telemetry import logs

BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)


class Node:
    """The node's state: one snapshot, replaced in whole.

    Everything here happens on the event loop but the reading itself, which runs on the one
    worker thread. ``publish`` is called on the loop with every new snapshot.
    """

    def __init__(
        self,
        machine: Machine,
        config: Config,
        *,
        prepare: Callable[[Snapshot], None],
        publish: Callable[[Snapshot], None],
    ) -> None:
        """Remember what to watch; ``start`` does the first look.

        ``prepare`` runs on the worker thread before a snapshot is published: files that must
        exist by the time a container is started with what the snapshot offers.
        """
        self.snapshot: Snapshot | None = None
        self._machine = machine
        self._config = config
        self._prepare = prepare
        self._publish = publish
        self._health = Health()
        self._session: Session | None = None
        self._watch: Watch | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="node")
        self._wanted = asyncio.Event()

    async def start(self) -> None:
        """Look once. Raises HardwareError (NoDriverError) when that fails."""
        await self._look()

    async def run(self) -> None:
        """Look again whenever asked to; a look that fails keeps the last good snapshot."""
        failures = 0
        while True:
            await self._wait(failures)
            self._wanted.clear()
            try:
                await self._look()
                failures = 0
            except PlumblineError as error:
                logs.error("discovery_failed", error=error, keeping_generation=self._generation())
                failures += 1

    async def close(self) -> None:
        """Stop watching and let go of the driver."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._worker, self._let_go)
        self._worker.shutdown(wait=False)

    def refresh(self, config: Config | None = None) -> None:
        """Ask for a new look, with a new configuration where one is given."""
        if config is not None:
            self._config = config
        self._wanted.set()

    def note(self, observation: Observation) -> None:
        """Take in what the watch saw."""
        match observation:
            case XidEvent(uuid=uuid, xid=xid):
                self._note_xid(uuid, xid)
            case GpusChanged():
                logs.event("gpus_changed")
                self.refresh()
            case UnattributedXid(xid=xid, reason=reason):
                logs.warning("xid_unattributed", xid=xid, reason=reason)
                self.refresh()
            case WatchFault(reason=reason):
                logs.error("watch_failed", reason=reason)
                self.refresh()

    def _note_xid(self, uuid: str, xid: int) -> None:
        ignored = ignored_xids(self._config.plumbline)
        health = self._health.after_xid(uuid, xid, ignored)
        logs.warning("xid", gpu=uuid, xid=xid, ignored=xid in ignored)
        if health is not self._health:
            self._health = health
            if self.snapshot is not None:
                self._swap(self.snapshot.with_health(health))

    async def _wait(self, failures: int) -> None:
        if not failures:
            await self._wanted.wait()
            return
        pause = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]
        try:
            await asyncio.wait_for(self._wanted.wait(), pause)
        except TimeoutError:
            return

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        ready = await loop.run_in_executor(self._worker, self._read, loop, self.snapshot)
        known = self._health
        for uuid, reason in ready.health.unhealthy.items():
            known = known.marked(uuid, reason)
        # An Xid may have come while the worker was reading: what is published knows it.
        self._health = known
        self._swap(ready if known == ready.health else ready.with_health(known))

    def _read(self, loop: asyncio.AbstractEventLoop, previous: Snapshot | None) -> Snapshot:
        """Read the node and prepare for what it offers; on the worker thread."""
        if self._session is None:
            self._session = Session(self._machine)
        config = self._config
        look_every_s = config.plumbline.health.poll_seconds
        if self._watch is None:
            # Watching starts before the look, so that nothing falls between them.
            note = partial(_hand_over, loop, self.note)
            self._watch = Watch(self._session, note, look_every_s=look_every_s)
            self._watch.start()
        self._watch.look_every_s = look_every_s
        inventory = observe(
            self._session,
            dev_root=self._dev_root(config),
            locality_file=config.plumbline.locality_file,
        )
        ready = build_snapshot(config, inventory, self._health, previous=previous)
        self._prepare(ready)
        return ready

    def _dev_root(self, config: Config) -> str:
        # A driver container brings its own /dev; without one the node's is ours too.
        root = config.flags.plugin.container_driver_root
        return root if self._machine.path(f"{root}/dev").is_dir() else "/"

    def _swap(self, snapshot: Snapshot) -> None:
        after = self._generation() or 0
        self.snapshot = replace(snapshot, generation=max(snapshot.generation, after + 1))
        self._publish(self.snapshot)

    def _generation(self) -> int | None:
        return self.snapshot.generation if self.snapshot else None

    def _let_go(self) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._session is not None:
            self._session.close()


def _hand_over(
    loop: asyncio.AbstractEventLoop, take: Callable[[Observation], None], seen: Observation
) -> None:
    """Pass an observation from the watching thread to the loop."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
        loop.call_soon_threadsafe(take, seen)
