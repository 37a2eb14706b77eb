"""What is done for a claim, part by part, and undone in the reverse order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from agent.serving.claim_store import StoredClaim


class Stage(Protocol):
    """One part. Both calls are made again after a process has died in the middle of them."""

    def acts(self, claim: StoredClaim, document: Mapping[str, Any]) -> bool:
        """Return True where it changes more than files of its own: that is written down before."""
        ...

    async def prepare(self, claim: StoredClaim, document: Mapping[str, Any]) -> StoredClaim:
        """Do it; return the claim with what has become known by that.

        ``document`` is the claim's object. Raises PlumblineError; what was done by then is undone
        by ``release``, which is given the claim as it was written down last.
        """
        ...

    async def release(self, claim: StoredClaim) -> None:
        """Undo it, also where it was never done or only begun. Raises PlumblineError."""
        ...


class FileStage(Stage, Protocol):
    """One part that is nothing but files, which can be written and removed at any time."""

    async def renew(self, claim: StoredClaim) -> None:
        """Write the files of a prepared claim again where somebody has taken them away."""
        ...

    async def forget(self, uid: str) -> None:
        """Remove the files of a claim of which nothing else is known."""
        ...

    async def given(self, uid: str) -> frozenset[str]:
        """Return what the files say that a claim was given, by the names of devices."""
        ...

    async def sweep(self, known: Collection[str]) -> None:
        """Remove the files of claims that are not known, by their UIDs."""
        ...
