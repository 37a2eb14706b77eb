"""Values to JSON, YAML and tables."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct


class Format(StrEnum):
    """What ``-o`` accepts."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def plain(value: object) -> Any:  # noqa: ANN401 - the JSON edge
    """Return structs, dataclasses, tuples and enums as what JSON and YAML can hold."""
    if isinstance(value, Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return value


def write(value: object, form: Format) -> None:
    """Print a value as JSON or YAML."""
    if form is Format.JSON:
        json.dump(plain(value), sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    import yaml  # noqa: PLC0415 - only this format needs it

    yaml.safe_dump(plain(value), sys.stdout, sort_keys=False)


def ranges(numbers: tuple[int, ...]) -> str:
    """Return a set of numbers as the kernel writes CPU lists: ``0-55,112-167``."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
