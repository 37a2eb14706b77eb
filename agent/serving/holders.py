"""Asks the kubelet who holds what, for the Ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from pathlib import Path

from agent.config.sharing import PREFIX
from agent.ledger.ledger import Account, Allocation
from agent.telemetry import logs
from deviceplugin.errors import PodResourcesUnreachable
from deviceplugin.holdings import list_holdings, socket_beside

# How long a kubelet may take after its start to have heard of its pods. One that knows of no
# pod at all may be waiting for its API server; an agent's own pod is on every node.
SETTLED_S = 30.0
SETTLED_WITHOUT_PODS_S = 600.0


def settled_after_s(pods: Collection[str]) -> float:
    """Return how old a kubelet that knows these pods must be for its answer to count."""
    return SETTLED_S if pods else SETTLED_WITHOUT_PODS_S


class Holders:
    """Reads the kubelet's PodResources; says once when that stops working, and when it works."""

    def __init__(self, kubelet_dir: Path) -> None:
        """Ask the kubelet that serves Registration in ``kubelet_dir``."""
        self._socket = socket_beside(kubelet_dir)
        self._failing: str | None = None

    async def read(self) -> Account | None:
        """Return what containers hold of this vendor's resources; None when nobody says."""
        asked_s = asyncio.get_running_loop().time()
        try:
            # The socket is made anew by every kubelet that starts.
            made = self._socket.stat()
            holdings = await list_holdings(self._socket)
        except (PodResourcesUnreachable, OSError) as error:
            self._note(str(error))
            return None
        self._note(None)
        age_s = time.time() - made.st_mtime
        held = tuple(
            Allocation(
                resource=each.resource,
                device=each.device,
                holder=f"{each.namespace}/{each.pod}",
            )
            for each in holdings.devices
            if each.resource.startswith(PREFIX)
        )
        return Account(
            held=held,
            pods=holdings.pods,
            kubelet=f"{made.st_ino}:{made.st_mtime_ns}",
            settled=age_s >= settled_after_s(holdings.pods),
            asked_s=asked_s,
        )

    def _note(self, failure: str | None) -> None:
        if failure == self._failing:
            return
        self._failing = failure
        if failure is None:
            logs.event("pod_resources_reachable")
        else:
            logs.warning(
                "pod_resources_unreachable",
                reason=failure,
                doing="knowing only what was allocated since the start",
            )
