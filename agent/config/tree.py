"""Settings as paths: the schema flattened, and values by path made into the schema again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TypeGuard, TypeVar

import msgspec
from msgspec import Struct

from agent.config.options import RunOptions
from agent.config.schema import Config
from agent.config.section import Section

S = TypeVar("S", bound=Section)

RUN = "run."
"""Before the path of what only flags and the environment can say."""


class Leaf(Struct, frozen=True, kw_only=True):
    """Type and default of one setting, from the schema."""

    annotation: object
    default: object


@cache
def leaves() -> dict[str, Leaf]:
    """Return type and default of every setting by path, in the order of the schema."""
    return {**dict(_walk(Config, "")), **dict(_walk(RunOptions, RUN))}


def is_section(annotation: object) -> TypeGuard[type[Section]]:
    """Return True for a mapping whose keys are settings, rather than a setting itself."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def assemble(section: type[S], values: Mapping[str, object], prefix: str = "") -> S:
    """Return a section with its values by path, and the default where there is none."""
    chosen: dict[str, object] = {}
    for field in msgspec.structs.fields(section):
        path = prefix + field.encode_name
        if is_section(field.type):
            chosen[field.name] = assemble(field.type, values, path + ".")
        elif path in values:
            chosen[field.name] = values[path]
    return section(**chosen)


def _walk(section: type[Section], prefix: str) -> Iterator[tuple[str, Leaf]]:
    for field in msgspec.structs.fields(section):
        path = prefix + field.encode_name
        if is_section(field.type):
            yield from _walk(field.type, path + ".")
        else:
            made = field.default_factory
            default = field.default if made is msgspec.NODEFAULT else made()
            yield path, Leaf(annotation=field.type, default=default)
