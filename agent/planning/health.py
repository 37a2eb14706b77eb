"""Which GPUs may be handed out, and why not: a pure fold over what was observed.

A mark stays until the process restarts. Recovery and a policy per kind of fault will be
further transitions of this same value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

# Xids a program can cause by itself and that leave the GPU sound: 13 graphics engine
# exception, 31 MMU fault, 43 channel reset, 45 preemptive cleanup, 68 video processor
# exception, 109 context switch timeout. The set NVIDIA's own device plugin ignores.
APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The GPUs that must not be handed out, by UUID, each with the reason."""

    unhealthy: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def is_healthy(self, uuid: str) -> bool:
        """Return True when nothing speaks against the GPU."""
        return uuid not in self.unhealthy

    def after_xid(self, uuid: str, xid: int, ignored: Collection[int]) -> Health:
        """Return the health after an Xid event; an ignored code changes nothing."""
        if xid in ignored:
            return self
        return self.marked(uuid, f"Xid {xid}")

    def marked(self, uuid: str, reason: str) -> Health:
        """Return the health with one GPU marked; the first reason stands."""
        if uuid in self.unhealthy:
            return self
        return replace(self, unhealthy=MappingProxyType({**self.unhealthy, uuid: reason}))
