"""The port behind which claims are prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from deviceplugin.dra.values import ClaimRef, Prepared, Refused, Released


class ClaimBackend(Protocol):
    """Prepares claims and gives them back; what fails for one claim fails for it alone.

    The kubelet waits 45 s. What takes longer goes on, and the next call for the claim joins it.
    """

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, Prepared | Refused]:
        """Return what became of every claim, by uid. The same claim gets the same answer."""
        ...

    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, Released | Refused]:
        """Return what became of every claim, by uid. An unknown claim counts as released."""
        ...
