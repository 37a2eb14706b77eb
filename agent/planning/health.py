"""Which GPUs may be handed out, and why not: a pure fold over what was observed.

A mark on a GPU stays until somebody says that it is mended, unless the GPU had left and came back:
the driver has started it anew by then, and whatever was wrong with it before says nothing any more.
A fault of the driver as a whole ends with it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

T = TypeVar("T")


class Health(Struct, frozen=True, kw_only=True):
    """The GPUs and MigInstances that must not be handed out, by UUID, each with the reason."""

    unhealthy: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    xids: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The Xid of those that are marked because of one."""
    behind: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What else is wrong with those, for when the Xid is forgiven."""
    absent: frozenset[str] = frozenset()
    """GPUs that left, and have not been back for long enough to be trusted."""
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
        marked = self
        if uuid not in self.xids:
            marked = replace(
                self.marked(uuid, _of(xid)), xids=MappingProxyType({**self.xids, uuid: xid})
            )
        # One that is back and fails again is not forgiven for having left.
        return replace(marked, absent=self.absent - {uuid}) if uuid in self.absent else marked

    def marked(self, uuid: str, reason: str) -> Health:
        """Return the health with one device marked; the first reason stands."""
        if uuid in self.unhealthy:
            if not self._is_of_xid(uuid) or reason in {self.unhealthy[uuid], self.behind.get(uuid)}:
                return self
            return replace(self, behind=MappingProxyType({uuid: reason, **self.behind}))
        return replace(self, unhealthy=MappingProxyType({**self.unhealthy, uuid: reason}))

    def gone(self, uuid: str, reason: str) -> Health:
        """Return the health after a GPU has left."""
        marked = self.marked(uuid, reason)
        return marked if uuid in self.absent else replace(marked, absent=self.absent | {uuid})

    def gone_unseen(self, known: Container[str], reason: str) -> Health:
        """Return the health where GPUs have left that an Xid had marked for an earlier process.

        ``known`` are the UUIDs of those that this process sees, or has seen.
        """
        left = [uuid for uuid in self.xids if uuid.startswith("GPU-") and uuid not in known]
        health = self
        for uuid in left:
            health = health.gone(uuid, reason)
        return health

    def back(self, gpu: str, parts: Iterable[str]) -> Health:
        """Return the health once a GPU that had left is trusted again, with what is part of it."""
        if gpu not in self.absent:
            return self
        well = {gpu, *parts}
        return replace(
            self,
            unhealthy=_without(self.unhealthy, well),
            xids=_without(self.xids, well),
            behind=_without(self.behind, well),
            absent=self.absent - well,
        )

    def forgiven(self) -> Health:
        """Return the health without what Xids have marked, but for GPUs that have left."""
        mended = {uuid for uuid in self.xids.keys() - self.absent if self._is_of_xid(uuid)}
        left = {uuid: why for uuid, why in self.behind.items() if uuid in mended}
        return replace(
            self,
            unhealthy=MappingProxyType({**_without(self.unhealthy, mended), **left}),
            xids=_without(self.xids, self.xids.keys() - self.absent),
            behind=_without(self.behind, mended),
        )

    def after_look(self, began: Health, found: Health) -> Health:
        """Return the health now, with what a look found that began with less.

        What was known when it began may have been forgiven meanwhile. The look speaks for the
        driver.
        """
        now = self
        known = {*began.unhealthy.items(), *began.behind.items()}
        for uuid, reason in (*found.unhealthy.items(), *found.behind.items()):
            if uuid in found.absent:
                now = now.gone(uuid, reason)
            elif (uuid, reason) not in known:
                now = now.marked(uuid, reason)
        return now.with_driver_fault(found.driver_fault)

    def _is_of_xid(self, uuid: str) -> bool:
        return uuid in self.xids and self.unhealthy.get(uuid) == _of(self.xids[uuid])


def _of(xid: int) -> str:
    return f"Xid {xid}"


def _without(marks: Mapping[str, T], uuids: Container[str]) -> Mapping[str, T]:
    return MappingProxyType({uuid: each for uuid, each in marks.items() if uuid not in uuids})
