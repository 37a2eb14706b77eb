"""The daemon's line to the API server: what the node's label orders, and how far that is."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agent.cluster.connection import ApiError, Connection
from agent.cluster.node import Labels, NodeLabels, shortened, write_event, write_node
from agent.cluster.pods import Evicted, evict
from agent.cluster.watching import Watch
from agent.daemon.order_reports import Report, State
from agent.daemon.threads import in_thread
from agent.model.errors import ClusterError
from agent.telemetry import logs

if TYPE_CHECKING:
    from agent.cluster.access import Access

# NVIDIA's MIG manager's names.
ORDER_LABEL = "nvidia.com/mig.config"
STATE_LABEL = "nvidia.com/mig.config.state"
REASON = "plumbline.dev/mig.config.reason"
"""A label with one word, and an annotation with the whole sentence."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
# How soon a pod is asked to end again: one that a budget holds back, and one that is ending.
BUDGET_S, ENDING_S = 10.0, 60.0
_FORBIDDEN = 403


class ClusterLink:
    """Everything here happens on the event loop but the requests themselves."""

    def __init__(self, access: Access, node: str, *, ordered: Callable[[str | None], None]) -> None:
        """Prepare; ``ordered`` is told which layout the node's label names.

        Raises ConfigError for certificates that cannot be used.
        """
        self._connection = Connection(access)
        self._node = node
        self._ordered = ordered
        self._loop: asyncio.AbstractEventLoop | None = None
        self._labels: Labels | None = None
        self._report: Report | None = None
        self._reported = asyncio.Event()
        self._said: tuple[str, State, str | None] | None = None
        self._ask_again_s: dict[str, float] = {}
        self._watch = Watch(
            self._connection,
            NodeLabels(node, lambda labels: self._hand_over(self._changed, labels)),
            failed=lambda error: self._hand_over(self._failed, error),
        )

    async def run(self) -> None:
        """Follow the node's label and write reports on the node; does not return."""
        self._loop = asyncio.get_running_loop()
        self._watch.start()
        pause_s = FIRST_PAUSE_S
        while True:
            await self._reported.wait()
            self._reported.clear()
            try:
                await self._write(self._report)
                pause_s = FIRST_PAUSE_S
            except Exception as error:  # noqa: BLE001 - what cannot be told must not end the serving
                said = (
                    error if isinstance(error, ClusterError) else f"{type(error).__name__}: {error}"
                )
                logs.warning("cluster_write_failed", error=said, again_in_s=round(pause_s, 1))
                # What is newer by then is written instead.
                self._reported.set()
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - spread
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def report(self, report: Report | None) -> None:
        """Take in how far an order is; None: there is none any more."""
        if report != self._report or report is None:
            self._report = report
            self._reported.set()

    async def evict(self, pods: Sequence[str]) -> None:
        """Ask for the end of pods, ``namespace/name``; each not too often."""
        loop = asyncio.get_running_loop()
        for pod in pods:
            if loop.time() < self._ask_again_s.get(pod, 0.0):
                continue
            try:
                answer = await in_thread(evict, self._connection, pod)
            except ClusterError as error:
                logs.warning("mig_eviction_failed", pod=pod, error=error)
                answer = Evicted.BUDGET
            else:
                logs.event("mig_eviction", pod=pod, answer=answer)
            again_s = BUDGET_S if answer is Evicted.BUDGET else ENDING_S
            self._ask_again_s[pod] = loop.time() + again_s

    def close(self) -> None:
        """Stop following."""
        self._watch.close()

    async def _write(self, report: Report | None) -> None:
        labels: dict[str, str | None] = {STATE_LABEL: None, REASON: None}
        message = None
        if report is not None:
            labels = {STATE_LABEL: report.state, REASON: report.reason}
            message = shortened(report.message) if report.reason is not None else None
        elif self._said is None and not self._left_over:
            return
        await in_thread(
            write_node, self._connection, self._node, labels=labels, annotations={REASON: message}
        )
        await self._write_event(report)

    async def _write_event(self, report: Report | None) -> None:
        said = None if report is None else (report.layout, report.state, report.reason)
        news, self._said = said != self._said, said
        if report is None or not news:
            return
        try:
            await in_thread(
                write_event,
                self._connection,
                self._node,
                warning=report.state is State.FAILED,
                reason=f"MigLayout{report.state.capitalize()}",
                message=f"{report.layout}: {report.message}",
            )
        except ClusterError as error:
            # The node says it too; an Event that comes later would only confuse.
            logs.warning("cluster_event_failed", error=error)

    def _changed(self, labels: Labels) -> None:
        self._labels = labels
        self._ordered(labels.get(ORDER_LABEL) or None)

    @property
    def _left_over(self) -> bool:
        """True when an earlier process said how far an order is that nobody gives any more."""
        labels = self._labels or {}
        return ORDER_LABEL not in labels and not labels.keys().isdisjoint({STATE_LABEL, REASON})

    def _failed(self, error: ClusterError | None) -> None:
        if error is None:
            logs.event("cluster_reachable", node=self._node)
            return
        logs.warning("cluster_unreachable", error=error, doing="trying again")
        if isinstance(error, ApiError) and error.status == _FORBIDDEN and self._labels is None:
            # Whoever may not read the label has no orders by it.
            self._ordered(None)

    def _hand_over(self, call: Callable[..., None], value: object) -> None:
        """Pass something from the watching thread to the loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(call, value)
