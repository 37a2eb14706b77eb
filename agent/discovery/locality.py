"""Reads the operator's locality file: distances that sysfs gets wrong (docs/locality.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from agent.config import conversion
from agent.config.problems import Problem, refuse
from agent.config.sources import read_text
from agent.model.errors import ConfigError
from agent.model.inventory import Distance

if TYPE_CHECKING:
    from agent.config.document import Reading

_ADDRESS = re.compile(r"(?:[0-9a-f]{4}|[1-9a-f][0-9a-f]{4,7}):[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
# lspci leaves the domain out, the driver writes eight digits of it.
_NEARLY = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])")

_Device = Annotated[str, Meta(min_length=1, description="a device's name or PCI address")]


class _Entry(Struct, frozen=True, kw_only=True):
    devices: Annotated[tuple[_Device, ...], Meta(description="two devices, as in [mlx5_0, eth1]")]
    distance: Distance


class _File(Struct, frozen=True, kw_only=True):
    version: Literal["v1"]
    distances: tuple[_Entry, ...] = ()


def read_overrides(path: Path) -> Mapping[frozenset[str], Distance]:
    """Return the overridden distances by unordered pair of device names or PCI addresses.

    No file means no overrides. Raises ConfigError, which names every problem with its line,
    for a file that cannot be used.
    """
    try:
        text = read_text(path, kind="locality file", advice="correct its mount or remove it")
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    # YAML is imported for this call alone: most nodes have no such file.
    from agent.config.document import read_struct  # noqa: PLC0415

    file, reading = read_struct(text, str(path), kind=_File)
    if file is None:
        refuse(reading.problems)
    entries = () if file is None else file.distances
    refuse(_problems(entries, reading))
    return {_pair(entry): entry.distance for entry in entries}


def _problems(entries: tuple[_Entry, ...], reading: Reading) -> Iterator[Problem]:
    """Yield what is wrong with entries whose keys and words are right."""
    first: dict[frozenset[str], int] = {}
    for i, entry in enumerate(entries):
        path = f"distances[{i}]"
        where = reading.places[path]
        wrong = _wrong_devices(entry.devices)
        if wrong is not None:
            yield Problem(where=where, path=f"{path}.devices", message=wrong)
            continue
        before = first.setdefault(_pair(entry), i)
        if entries[before].distance != entry.distance:
            yield Problem(
                where=where,
                path=path,
                message=f"{entry.distance} for {' and '.join(entry.devices)}, which distances"
                f"[{before}] ({reading.places[f'distances[{before}]']}) says are"
                f" {entries[before].distance}; keep one of the two",
            )


def _wrong_devices(devices: tuple[str, ...]) -> str | None:
    """Return why these are no pair; None when they are one."""
    if len(devices) != 2:
        return f"{len(devices)} devices ({', '.join(devices) or 'none'}); name two"
    for name in devices:
        if ":" in name and not _ADDRESS.fullmatch(name.lower()):
            return f"{conversion.show(name)} is no PCI address; {_advice(name.lower())}"
    a, b = map(_key, devices)
    return f"a distance of {a} to itself; name two devices" if a == b else None


def _advice(name: str) -> str:
    meant = _NEARLY.fullmatch(name)
    if meant is None:
        return "write it as sysfs does, as in 0000:1b:00.0"
    domain, bus, device, function = meant.groups()
    return f"did you mean '{int(domain or '0', 16):04x}:{bus:>02}:{device:>02}.{function}'?"


def _pair(entry: _Entry) -> frozenset[str]:
    return frozenset(map(_key, entry.devices))


def _key(name: str) -> str:
    return name.lower() if ":" in name else name
