"""Which Xids count against a GPU's health, out of the lists the operator may give."""

from __future__ import annotations

from msgspec import Struct

from agent.config.own import Plumbline

_ALL = frozenset({"all", "xids"})


class IgnoredXids(Struct, frozen=True, kw_only=True):
    """The Xids that are ignored, as something to ask ``xid in ignored`` of.

    What is enabled is never ignored; of the rest, what is disabled or in ``ignoredXids`` is.
    Upstream means the same but never starts its checker once everything is disabled, so that
    there nothing can be enabled again.
    """

    ignored: frozenset[int]
    enabled: frozenset[int]
    ignores_all: bool
    enables_all: bool

    def __contains__(self, xid: object) -> bool:
        """Return True when the Xid says nothing about the GPU's health."""
        if self.enables_all or xid in self.enabled:
            return False
        return self.ignores_all or xid in self.ignored

    @property
    def everything(self) -> bool:
        """True when no Xid counts, so that nobody needs to wait for one."""
        return self.ignores_all and not self.enables_all and not self.enabled


def ignored_xids(own: Plumbline) -> IgnoredXids:
    """Return the Xids to ignore under a configuration."""
    disable, enable = own.health.disable, own.health.enable
    return IgnoredXids(
        ignored=frozenset(own.ignored_xids) | {x for x in disable if isinstance(x, int)},
        enabled=frozenset(x for x in enable if isinstance(x, int)),
        ignores_all=not _ALL.isdisjoint(disable),
        enables_all=not _ALL.isdisjoint(enable),
    )
