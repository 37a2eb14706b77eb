"""Where people and programs look into the running agent: its local socket and its metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config.own import Plumbline
from agent.daemon.threads import in_thread
from agent.ledger.ledger import Ledger
from agent.planning.decision import Question, Weighed
from agent.planning.snapshot import Snapshot
from agent.serving.inquiries import Inquiries
from agent.serving.local_socket import LocalSocket

if TYPE_CHECKING:
    from agent.telemetry.metrics import Metrics

TRY_AGAIN_S = 5.0


class Windows:
    """Open while ``run`` runs, wherever the configuration in force says."""

    def __init__(
        self,
        wanted: Plumbline,
        inquiries: Inquiries,
        *,
        state: Callable[[], tuple[Snapshot | None, Ledger]],
        path: Callable[[str], Path],
    ) -> None:
        """``path`` returns where a path of the node lies for this process."""
        self._wanted = wanted
        self._state = state
        self._path = path
        self._changed = asyncio.Event()
        self._metrics: Metrics | None = None
        self._socket = LocalSocket(lambda question: inquiries.answer(question, *state()))

    async def run(self) -> None:
        """Open what is wanted, and again when that has changed."""
        while True:
            self._changed.clear()
            named = self._wanted.socket
            opened = [
                await self._socket.listen(None if named is None else self._path(named)),
                await self._listen(self._wanted.metrics.listen),
            ]
            with contextlib.suppress(TimeoutError):
                # An instance that ends may hold an address a moment longer.
                async with asyncio.timeout(None if all(opened) else TRY_AGAIN_S):
                    await self._changed.wait()

    def follow(self, wanted: Plumbline) -> None:
        """Take in another configuration."""
        self._wanted = wanted
        self._changed.set()

    def noted(self, question: Question, weighed: Weighed) -> None:
        """Count a decision."""
        if self._metrics is not None:
            self._metrics.placed(question, weighed)

    async def close(self) -> None:
        """Close what is open."""
        await self._socket.listen(None)
        if self._metrics is not None:
            await in_thread(self._metrics.close)

    async def _listen(self, address: str | None) -> bool:
        if self._metrics is None and address is not None:
            # Only here: it costs some 4 MiB, which nobody should pay who does not ask for it.
            from agent.telemetry.metrics import Metrics  # noqa: PLC0415

            self._metrics = Metrics(self._state)
        return self._metrics is None or await in_thread(self._metrics.listen, address)
