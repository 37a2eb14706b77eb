"""What a ResourceClaim asks of this node's driver: the claim's object in, results out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from agent.model.errors import ClaimError


class Toleration(Struct, frozen=True, kw_only=True):
    """A taint that a claim puts up with (resource.k8s.io/v1, DeviceToleration)."""

    key: str | None
    """None: any."""
    value: str | None
    """None: any."""
    effect: str | None
    """None: any."""

    def covers(self, key: str, value: str, effect: str) -> bool:
        """Return True for a taint that it is about."""
        return (
            self.key in {None, key}
            and self.value in {None, value}
            and self.effect in {None, effect}
        )


class Result(Struct, frozen=True, kw_only=True):
    """One device that the scheduler allocated to a claim."""

    request: str
    """The claim's request, as the kubelet wants it: without a sub-request."""
    subrequest: str | None
    """Which one of a prioritised list it became; None for a request without."""
    pool: str
    device: str
    admin: bool
    """Access for an administrator: beside whoever has it."""
    share_id: str | None
    tolerations: tuple[Toleration, ...] = ()

    def tolerates(self, taints: Mapping[str, str], effect: str) -> bool:
        """Return True where the claim puts up with all of a device's taints: values by key."""
        return all(
            any(each.covers(key, value, effect) for each in self.tolerations)
            for key, value in taints.items()
        )


class AllocatedClaim(Struct, frozen=True, kw_only=True):
    """A claim as far as one driver is concerned."""

    namespace: str
    name: str
    uid: str
    results: tuple[Result, ...]


def read_claim(document: Mapping[str, Any], *, uid: str, driver: str, pool: str) -> AllocatedClaim:
    """Return what a claim has of a driver's devices in a pool; other drivers' are left alone.

    Raises ClaimError when the claim is another one by now, or is not allocated.
    """
    metadata = document.get("metadata") or {}
    name = f"{metadata.get('namespace')}/{metadata.get('name')}"
    if metadata.get("uid") != uid:
        raise ClaimError(
            f"claim {name} has the UID {metadata.get('uid')}, and {uid} was asked for: it was"
            " deleted and created again"
        )
    allocation = (document.get("status") or {}).get("allocation")
    if not allocation:
        raise ClaimError(f"claim {name} is not allocated")
    return AllocatedClaim(
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        uid=uid,
        results=tuple(_results(allocation, driver, pool, name)),
    )


def _results(allocation: Mapping[str, Any], driver: str, pool: str, name: str) -> Iterator[Result]:
    for each in (allocation.get("devices") or {}).get("results") or ():
        if each.get("driver") != driver:
            continue
        if each.get("pool") != pool:
            raise ClaimError(
                f"claim {name} has device {each.get('device')} of pool {each.get('pool')}, which"
                f" is not this node's: {pool}"
            )
        request, _, subrequest = str(each["request"]).partition("/")
        yield Result(
            request=request,
            subrequest=subrequest or None,
            pool=pool,
            device=str(each["device"]),
            admin=bool(each.get("adminAccess")),
            share_id=each.get("shareID"),
            tolerations=tuple(_toleration(one) for one in each.get("tolerations") or ()),
        )


def _toleration(document: Mapping[str, Any]) -> Toleration:
    equal = document.get("operator", "Equal") == "Equal"
    return Toleration(
        key=document.get("key") or None,
        value=str(document.get("value", "")) if equal else None,
        effect=document.get("effect") or None,
    )
