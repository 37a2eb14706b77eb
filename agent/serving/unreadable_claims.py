"""Claims whose files cannot be read: what they have is kept from others all the same. Pure.

What that is their CDI specifications still say, by the names of devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.planning.claims import Result
from agent.planning.dra_devices import Subject
from agent.serving.claim_conflicts import conflict
from agent.serving.claim_store import StoredClaim, StoredDevice, UnreadableFile
from agent.serving.claim_subjects import stored_device

_UUID_PREFIXES = ("gpu-", "mig-")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableClaim:
    """A claim that is prepared, or was being prepared, and that nothing else is known of."""

    file: UnreadableFile
    devices: frozenset[str] = frozenset()
    """Names of what its containers were given; none when no container can have it any more."""


def taken_unreadably(
    device: StoredDevice, claims: Iterable[UnreadableClaim], subjects: Mapping[str, Subject]
) -> UnreadableClaim | None:
    """Return a claim that may have what a device would take; None where it can be given."""
    return next((each for each in claims if _excludes(each, device, subjects)), None)


def held_unreadably(claims: Iterable[UnreadableClaim]) -> dict[str, str]:
    """Return what claims have, as far as names of devices say it: whose it is, by UUID."""
    return {
        name[:4].upper() + name[4:]: f"a claim whose file cannot be read ({claim.file.path})"
        for claim in claims
        for name in claim.devices
        if name.startswith(_UUID_PREFIXES)
    }


def _excludes(
    claim: UnreadableClaim, device: StoredDevice, subjects: Mapping[str, Subject]
) -> bool:
    stored = StoredClaim(
        namespace="",
        name="",
        uid=claim.file.uid,
        state="completed",
        boot="",
        devices=tuple(
            stored_device(_as_result(name), subjects[name])
            for each in claim.devices
            if (name := _named(each, subjects)) is not None
        ),
    )
    return conflict(device, (stored,)) is not None


def _named(given: str, subjects: Mapping[str, Subject]) -> str | None:
    """Return which device it is: a share bears the device's name, and more."""
    if given in subjects:
        return given
    longer = (name for name in subjects if given.startswith(f"{name}-"))
    return max(longer, key=len, default=None)


def _as_result(device: str) -> Result:
    return Result(request="", subrequest=None, pool="", device=device, admin=False, share_id=None)
