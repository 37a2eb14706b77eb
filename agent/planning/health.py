"""Which GPUs may be handed out, and why not: a pure fold over what was observed.

A mark on a GPU stays until the process restarts. Recovery and a policy per kind of fault will
be further transitions of this same value. A fault of the driver as a whole ends with it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The GPUs and MigInstances that must not be handed out, by UUID, each with the reason."""

    unhealthy: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    driver_fault: str | None = None
    """Why no GPU can be used at all, while that is so."""

    def reason(self, uuid: str) -> str | None:
        """Return why a GPU or a MigInstance must not be handed out; None when it may."""
        return self.driver_fault or self.unhealthy.get(uuid)

    def with_driver_fault(self, reason: str | None) -> Health:
        """Return the health while the driver fails, or after it answers again (None)."""
        return self if reason == self.driver_fault else replace(self, driver_fault=reason)

    def after_xid(self, uuid: str, xid: int, ignored: Container[int]) -> Health:
        """Return the health after an Xid event; an ignored code changes nothing."""
        if xid in ignored:
            return self
        return self.marked(uuid, f"Xid {xid}")

    def marked(self, uuid: str, reason: str) -> Health:
        """Return the health with one device marked; the first reason stands."""
        if uuid in self.unhealthy:
            return self
        return replace(self, unhealthy=MappingProxyType({**self.unhealthy, uuid: reason}))
