"""Reads the operator's locality file: distances that sysfs gets wrong (docs/locality.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from agent.model.errors import ConfigError
from agent.model.inventory import Distance


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: tuple[str, str]
    distance: Distance


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal["v1"]
    distances: tuple[_Entry, ...] = ()


def read_overrides(path: Path) -> Mapping[frozenset[str], Distance]:
    """Return the overridden distances by unordered pair of device names or PCI addresses.

    No file means no overrides. Raises ConfigError for a file that cannot be used.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the locality file: {error.strerror}") from error
    try:
        # msgspec imports yaml for this call alone: most nodes have no such file.
        decoded = msgspec.yaml.decode(text, type=_File)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: {error}") from error
    return {_pair(path, entry): entry.distance for entry in decoded.distances}


def _pair(path: Path, entry: _Entry) -> frozenset[str]:
    a, b = (name.lower() if ":" in name else name for name in entry.devices)
    if a == b:
        raise ConfigError(f"{path}: a distance of {a} to itself; name two devices")
    return frozenset((a, b))
