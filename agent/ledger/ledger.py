"""The Ledger: which devices containers hold, as far as it is known; an immutable value.

The kubelet keeps its accounts by resource name. A GPU whose name changes is free to it under
the new one while a pod still holds it under the old one; only this ledger knows better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct, field
from msgspec.structs import replace

# The kubelet notes a device when Allocate has answered; a pod that it gave up in between never
# shows. Long enough for any admission, short enough not to withhold a GPU that is free.
GRANT_LASTS_S = 30.0

CLAIMED = "a ResourceClaim"
"""What stands where a resource's name would: claims have GPUs, not resources."""


class Allocation(Struct, frozen=True, kw_only=True):
    """One device of one container."""

    resource: str
    device: str
    """The id that the kubelet knows, for a Replica with its number."""
    holder: str | None = None
    """``namespace/pod``; None while only Allocate told of it."""

    @property
    def gpu(self) -> str:
        """Return the UUID of what is shared or given, a GPU or a MigInstance: the id without a
        Replica's number.
        """
        return self.device.partition("::")[0]


class Grant(Struct, frozen=True, kw_only=True):
    """An Allocation that the kubelet has not confirmed."""

    allocation: Allocation
    at_s: float
    """When Allocate was answered, on the caller's monotonic clock."""


class Account(Struct, frozen=True, kw_only=True):
    """What one kubelet said that its pods hold.

    A kubelet that has just started answers before it knows its pods (seen with 1.36: nothing
    for some 200 ms, and for as long as the API server is away).
    """

    held: tuple[Allocation, ...]
    pods: frozenset[str]
    """Every pod it knows, with devices and without, as ``namespace/pod``."""
    kubelet: str
    """Differs for every start of a kubelet."""
    settled: bool
    """True when this kubelet has had the time to learn of all its pods."""
    asked_s: float
    """When it was asked, on the caller's monotonic clock."""


class Ledger(Struct, frozen=True, kw_only=True, dict=True):
    """What containers hold: as the kubelet says, and as it was told since it said so."""

    confirmed: tuple[Allocation, ...] = ()
    unseen: tuple[Allocation, ...] = ()
    """Those of ``confirmed`` that only an earlier kubelet told of."""
    forgotten: tuple[Allocation, ...] = ()
    """Those of ``unseen`` whose pod the kubelet knows, but not with this device: it started
    without its checkpoint, and would give the device away a second time."""
    kubelet: str = ""
    granted: Mapping[str, Grant] = field(default_factory=dict)
    """By device. A kubelet that does not say what its pods hold never confirms any."""
    claimed: tuple[Allocation, ...] = ()
    """What ResourceClaims have, through the other door; the holder is the claim."""

    def with_grant(self, resource: str, devices: Iterable[str], *, at_s: float) -> Ledger:
        """Return the ledger after an Allocate was answered."""
        fresh = {
            device: Grant(allocation=Allocation(resource=resource, device=device), at_s=at_s)
            for device in devices
        }
        return Ledger(
            confirmed=self.confirmed,
            unseen=self.unseen,
            forgotten=self.forgotten,
            kubelet=self.kubelet,
            granted={**self.granted, **fresh},
            claimed=self.claimed,
        )

    def with_claims(self, claims: Mapping[str, str]) -> Ledger:
        """Return the ledger after claims came or went; ``claims`` are names by UUID."""
        claimed = tuple(
            Allocation(resource=CLAIMED, device=uuid, holder=name)
            for uuid, name in sorted(claims.items())
        )
        return replace(self, claimed=claimed)

    def reconciled(self, account: Account) -> Ledger:
        """Return the ledger after the kubelet said what its pods hold.

        What this kubelet told of before and does not tell of now is free. What an earlier one
        told of is free once this one is settled and does not know the pod. A grant that is not
        confirmed stays a while.
        """
        known = {_key(each) for each in account.held}
        earlier = self.confirmed if account.kubelet != self.kubelet else self.unseen
        unseen = [each for each in earlier if _key(each) not in known]
        forgotten = tuple(each for each in unseen if each.holder in account.pods)
        if account.settled:
            unseen = [*forgotten]
        return Ledger(
            confirmed=tuple(sorted((*account.held, *unseen), key=_key)),
            unseen=tuple(unseen),
            forgotten=forgotten,
            kubelet=account.kubelet,
            granted={
                device: grant
                for device, grant in self.granted.items()
                if _key(grant.allocation) not in known
                and grant.at_s + GRANT_LASTS_S > account.asked_s
            },
            claimed=self.claimed,
        )

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Return what Allocate gave and the kubelet has not confirmed."""
        return tuple(self.granted.values())

    @cached_property
    def every(self) -> tuple[Allocation, ...]:
        """Everything that is held, as far as is known."""
        return (*self.confirmed, *(grant.allocation for grant in self.grants), *self.claimed)

    @cached_property
    def _by_gpu(self) -> Mapping[str, Sequence[Allocation]]:
        return _grouped((each.gpu, each) for each in self.every)

    @cached_property
    def _by_device(self) -> Mapping[str, Sequence[Allocation]]:
        return _grouped((each.device, each) for each in self.every)

    @cached_property
    def _forgotten(self) -> frozenset[Allocation]:
        return frozenset(self.forgotten)

    @cached_property
    def held(self) -> frozenset[str]:
        """Every device that a container holds, as far as is known."""
        return frozenset(each.device for each in self.every)

    def allocations(self, gpu: str) -> tuple[Allocation, ...]:
        """Return what is held of a GPU as such, or of a MigInstance, by UUID."""
        return tuple(self._by_gpu.get(gpu, ()))

    def pods_with(self, gpu: str) -> tuple[Allocation, ...]:
        """Return what is held of a GPU, or of a MigInstance, through the device plugin."""
        return tuple(each for each in self.allocations(gpu) if each.resource != CLAIMED)

    def holders(self) -> dict[str, str]:
        """Return who holds a device, by device, where the kubelet has told."""
        return {each.device: each.holder for each in self.confirmed if each.holder is not None}

    def held_unknown_to_kubelet(self, device: str, resource: str) -> Allocation | None:
        """Return an Allocation that the kubelet does not count against a device of ``resource``.

        To the kubelet a device, its Replicas, and each of them under another name are all
        different things. Replicas beside each other are not in each other's way.
        """
        whole = device.partition("::")[0]
        if device == whole:
            near = self.allocations(whole)
        else:
            near = (*self._by_device.get(whole, ()), *self._by_device.get(device, ()))
        mine = (resource, device)
        return next((a for a in near if _key(a) != mine or a in self._forgotten), None)


def _grouped(pairs: Iterable[tuple[str, Allocation]]) -> Mapping[str, Sequence[Allocation]]:
    found: dict[str, list[Allocation]] = {}
    for key, allocation in pairs:
        found.setdefault(key, []).append(allocation)
    return found


def _key(allocation: Allocation) -> tuple[str, str]:
    return allocation.resource, allocation.device
