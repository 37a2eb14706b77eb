"""Which configuration of a claim holds for which of its devices. Pure.

The scheduler writes those of the DeviceClass and those of the claim into the allocation. Those of
the claim count more, and of several the later one; they are never merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from agent.config.conversion import show
from agent.model.errors import ClaimError
from agent.planning.claim_parameters import ConfigKind, DeviceConfig, read_parameters
from agent.planning.claim_usage import AS_IT_IS, Usage

_SOURCES = ("FromClass", "FromClaim")
_NOUNS = {ConfigKind.GPU: "a GPU", ConfigKind.MIG: "a MIG instance"}


class Asked(Struct, frozen=True, kw_only=True):
    """A device of a claim, as far as configurations are concerned."""

    request: str
    """As the allocation has it: with a sub-request, ``main/sub``."""
    kind: ConfigKind


class _Entry(Struct, frozen=True, kw_only=True):
    path: str
    source: int
    """Place in _SOURCES."""
    requests: tuple[str, ...]
    """Those that it names; none: it holds for every device of its kind."""
    config: DeviceConfig

    def holds_for(self, asked: Asked) -> bool:
        """Return True where it is meant. Raises ClaimError for a device of another kind."""
        kind = self.config.kind
        if not self.requests:
            return kind is asked.kind
        main = asked.request.partition("/")[0]
        named = next((each for each in self.requests if each in (asked.request, main)), None)
        if named is not None and kind is not asked.kind:
            raise ClaimError(
                f"{self.path}: a {kind} names request {show(named)}, whose device is"
                f" {_NOUNS[asked.kind]}; make it a {asked.kind}, or name another request"
            )
        return named is not None


def read_usages(
    document: Mapping[str, Any], driver: str, devices: Sequence[Asked]
) -> tuple[Usage, ...]:
    """Return how each device of an allocated claim is to be used.

    ``document`` is the claim's object. Raises ClaimError, nothing else.
    """
    entries = sorted(_entries(document, driver), key=lambda entry: entry.source)
    usages = [AS_IT_IS] * len(devices)
    for entry in entries:
        for number, asked in enumerate(devices):
            if entry.holds_for(asked):
                usages[number] = entry.config.usage
    return tuple(usages)


def _entries(document: Mapping[str, Any], driver: str) -> Iterator[_Entry]:
    path = "status.allocation.devices.config"
    found: object = document
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    if found is None:
        return
    if not isinstance(found, list | tuple):
        raise ClaimError(f"{path}: {show(found)} is not a list")
    for number, each in enumerate(found):
        opaque = each.get("opaque") if isinstance(each, Mapping) else None
        if isinstance(opaque, Mapping) and opaque.get("driver") == driver:
            yield _entry(each, opaque, f"{path}[{number}]")


def _entry(each: Mapping[str, Any], opaque: Mapping[str, Any], path: str) -> _Entry:
    source = each.get("source")
    if source not in _SOURCES:
        raise ClaimError(f"{path}.source: {show(source)} is none of {', '.join(_SOURCES)}")
    requests = each.get("requests") or ()
    if not isinstance(requests, list | tuple):
        raise ClaimError(f"{path}.requests: {show(requests)} is not a list")
    return _Entry(
        path=path,
        source=_SOURCES.index(source),
        requests=tuple(str(name) for name in requests),
        config=read_parameters(opaque.get("parameters"), f"{path}.opaque.parameters"),
    )
