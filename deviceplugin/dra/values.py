"""The plain values that pass between the kubelet's DRA calls and whoever prepares claims."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ClaimRef(Struct, frozen=True, kw_only=True):
    """A ResourceClaim as the kubelet names it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        """Name it as people do."""
        return f"{self.namespace}/{self.name}"


class PreparedDevice(Struct, frozen=True, kw_only=True):
    """One allocated device that containers can be given."""

    requests: tuple[str, ...]
    """Names of the claim's requests that it was allocated for, without sub-requests."""
    pool: str
    device: str
    cdi_devices: tuple[str, ...]
    """Fully qualified CDI names, ``vendor.com/class=name``."""
    share_id: str | None = None
    """Which share of a device that several claims have; told under v1 only."""


class Prepared(Struct, frozen=True, kw_only=True):
    """A claim whose devices containers can be given."""

    devices: tuple[PreparedDevice, ...]


class Refused(Struct, frozen=True, kw_only=True):
    """A claim that cannot be prepared, or given back, at this moment; the kubelet asks again."""

    reason: str


class Released(Struct, frozen=True, kw_only=True):
    """A claim of which nothing is left on the node."""


class HealthState(StrEnum):
    """What the kubelet shows of a device in the status of its pods."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class DeviceHealth(Struct, frozen=True, kw_only=True):
    """The health of one device of a pool."""

    pool: str
    device: str
    state: HealthState
    message: str = ""
    since_s: int = 0
    """When it became so, in seconds since 1970."""
