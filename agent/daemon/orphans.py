"""Gives claims back that nobody will: their objects are gone, and no pod here has them.

A kubelet gives back what it remembers. One that lost its memory, or whose node was away while pods
were deleted by force, leaves claims prepared for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from agent.cluster.connection import ApiError
from agent.model.errors import ClusterError, describe
from agent.serving.claim_store import StoredClaim
from agent.telemetry import logs
from deviceplugin.dra.values import ClaimRef
from deviceplugin.errors import PodResourcesUnreachable
from deviceplugin.holdings import Holdings

_NOT_FOUND = 404
# Looked for so many times in the time that a claim must be an orphan to be taken for one.
_LOOKS = 10
_UNKNOWN_S = 1.0


class Keeper(Protocol):
    """Who keeps prepared claims."""

    @property
    def known(self) -> tuple[StoredClaim, ...]:
        """Every claim, begun and completed."""
        ...

    async def unprepare(self, claims: Sequence[ClaimRef]) -> object:
        """Give claims back."""
        ...


class Orphans:
    """Looks now and then, and asks nobody while no claim is prepared that no pod has."""

    def __init__(
        self,
        keepers: Iterable[Keeper],
        *,
        holdings: Callable[[], Awaitable[Holdings]],
        fetch: Callable[[ClaimRef], Awaitable[dict[str, Any]]],
        grace_s: Callable[[], float | None],
    ) -> None:
        """``holdings`` and ``fetch`` are coroutine functions: what the kubelet says, which raises
        PodResourcesUnreachable, and a claim's object, which raises ClusterError. ``grace_s``
        returns how long a claim must be an orphan; None while that is not known.
        """
        self._keepers = tuple(keepers)
        self._holdings = holdings
        self._fetch = fetch
        self._grace_s = grace_s
        self._since_s: dict[str, float] = {}

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            grace_s = self._grace_s()
            if grace_s is None:
                await asyncio.sleep(_UNKNOWN_S)
                continue
            await asyncio.sleep(grace_s / _LOOKS)
            try:
                await self.look(asyncio.get_running_loop().time(), grace_s)
            except (PodResourcesUnreachable, OSError, ClusterError) as error:
                # Who is an orphan is known only where both answer.
                logs.debug("orphans_not_looked_for", reason=error)
            except Exception as error:  # noqa: BLE001 - one bad look must not end the serving
                logs.error("orphans_unseen", error=describe(error), doing="looking again")

    async def look(self, now_s: float, grace_s: float) -> None:
        """Give back what has been an orphan for so long. Raises as what it asks does."""
        known = [(keeper, claim) for keeper in self._keepers for claim in keeper.known]
        self._since_s = {
            claim.uid: self._since_s[claim.uid] for _, claim in known if claim.uid in self._since_s
        }
        if not known:
            return
        used = await self._used()
        for keeper, claim in known:
            if str(claim) in used or await self._exists(claim):
                self._since_s.pop(claim.uid, None)
            elif now_s - self._since_s.setdefault(claim.uid, now_s) >= grace_s:
                logs.warning(
                    "claim_orphaned",
                    claim=str(claim),
                    uid=claim.uid,
                    reason="its object is gone, and no pod on this node has it",
                    doing="giving it back",
                )
                await keeper.unprepare((_ref(claim),))

    async def _used(self) -> frozenset[str]:
        """Return the claims that pods have, as ``namespace/name``."""
        holdings = await self._holdings()
        return frozenset(f"{each.namespace}/{each.claim}" for each in holdings.claims)

    async def _exists(self, claim: StoredClaim) -> bool:
        try:
            document = await self._fetch(_ref(claim))
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return False
        return bool(document["metadata"]["uid"] == claim.uid)


def _ref(claim: StoredClaim) -> ClaimRef:
    return ClaimRef(namespace=claim.namespace, name=claim.name, uid=claim.uid)
