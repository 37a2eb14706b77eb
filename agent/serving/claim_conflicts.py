"""Whether two claims can have what they have beside each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agent.serving.claim_store import StoredClaim, StoredDevice


def conflict(device: StoredDevice, claims: Iterable[StoredClaim]) -> StoredClaim | None:
    """Return a claim that has what a device would take; None where it can be given."""
    if device.admin:
        return None
    return next(
        (claim for claim in claims if any(_excludes(device, each) for each in claim.devices)), None
    )


def _excludes(a: StoredDevice, b: StoredDevice) -> bool:
    if b.admin or (a.share_id is not None and b.share_id is not None):
        return False
    common = set(a.gpus) & set(b.gpus)
    if a.place and b.place:
        return bool(common) and a.place.overlaps(b.place)
    if _is_whole(a) or _is_whole(b):
        return bool(common)
    # Instances that are there whoever claims them, and NICs.
    return bool(set(a.uuids) & set(b.uuids))


def _is_whole(device: StoredDevice) -> bool:
    return bool(device.gpus) and device.place is None and device.uuids == device.gpus
