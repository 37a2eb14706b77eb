"""Which GPUs may be handed out, and why not: a pure fold over what was observed.

A mark stays until the process restarts. Recovery and a policy per kind of fault will be
further transitions of this same value.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The GPUs that must not be handed out, by UUID, each with the reason."""

    unhealthy: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def is_healthy(self, uuid: str) -> bool:
        """Return True when nothing speaks against the GPU."""
        return uuid not in self.unhealthy

    def after_xid(self, uuid: str, xid: int, ignored: Container[int]) -> Health:
        """Return the health after an Xid event; an ignored code changes nothing."""
        if xid in ignored:
            return self
        return self.marked(uuid, f"Xid {xid}")

    def marked(self, uuid: str, reason: str) -> Health:
        """Return the health with one GPU marked; the first reason stands."""
        if uuid in self.unhealthy:
            return self
        return replace(self, unhealthy=MappingProxyType({**self.unhealthy, uuid: reason}))
