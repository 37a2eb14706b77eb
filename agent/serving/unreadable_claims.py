"""Claims of which nobody can read what they have: it is kept from others all the same. Pure.

What that is their CDI specifications still say, by the names of devices. Only that much is known:
shares and what an administrator looks at count as if they had the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from agent.planning.claims import Result
from agent.planning.dra_devices import Subject
from agent.planning.dra_nics import nic_address
from agent.serving.claim_conflicts import conflict
from agent.serving.claim_store import StoredClaim, StoredDevice, UnreadableFile
from agent.serving.claim_subjects import stored_device

# A GPU's name, or one that begins with it (a share, an instance that was made for the claim), or
# that of an instance that somebody else made.
_HEX = "[0-9a-f]"
_NAME = re.compile(rf"(gpu|mig)-({_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}})\b")


class UnreadableClaim(Struct, frozen=True, kw_only=True):
    """A claim that is prepared, or was being prepared, and that nothing else is known of."""

    file: UnreadableFile
    devices: frozenset[str] = frozenset()
    """Names of what its containers were given, each with its share; none when no container can
    have anything any more.
    """


def taken_unreadably(
    device: StoredDevice, claims: Iterable[UnreadableClaim], subjects: Mapping[str, Subject]
) -> UnreadableClaim | None:
    """Return a claim that may have what a device would take; None where it can be given.

    ``subjects`` are what the names of devices stand for.
    """
    return next(
        (each for each in claims if conflict(device, (as_claim(each, subjects),)) is not None), None
    )


def held_unreadably(claims: Iterable[UnreadableClaim]) -> dict[str, str]:
    """Return what claims have, as far as names of devices say it: whose it is, by UUID."""
    return {
        uuid: f"a claim whose file cannot be read ({claim.file.path})"
        for claim in claims
        for device in as_claim(claim, {}).devices
        for uuid in device.uuids
    }


def as_claim(claim: UnreadableClaim, subjects: Mapping[str, Subject]) -> StoredClaim:
    """Return a claim with what it may have of what there is."""
    found = (_device(name, subjects) for name in sorted(claim.devices))
    return StoredClaim(
        namespace="",
        name="",
        uid=claim.file.uid,
        state="completed",
        boot="",
        devices=tuple(each for each in found if each is not None),
    )


def _device(name: str, subjects: Mapping[str, Subject]) -> StoredDevice | None:
    if (named := _NAME.match(name)) is not None:
        uuid = f"{named[1].upper()}-{named[2]}"
        gpus = (uuid,) if named[1] == "gpu" else ()
        return StoredDevice(request="", pool="", device=name, gpus=gpus, uuids=(uuid,))
    if (address := nic_address(name)) is not None:
        return StoredDevice(request="", pool="", device=name, uuids=(address,))
    if name in subjects:
        result = Result(
            request="", subrequest=None, pool="", device=name, admin=False, share_id=None
        )
        return stored_device(result, subjects[name])
    return None
