"""A resolved configuration as text: in a few log lines, or whole as a file that reads back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec

from agent.config import conversion
from agent.config.flags import Resolved
from agent.config.section import GO_DURATION, Section
from agent.config.settings import SETTINGS, Setting
from agent.config.tree import RUN, Leaf, is_section, leaves

_COMMENT_COLUMN = 48


def describe(resolved: Resolved) -> list[str]:
    """Return one line for each value that differs from its default, with where it came from."""
    values = _by_path(resolved)
    return [
        f"{_name(setting)} = {_scalar(values[path], leaf)} ({resolved.provenance[path]})"
        for setting in SETTINGS
        for path, leaf in [(setting.path, leaves()[setting.path])]
        if path in resolved.provenance and values[path] != leaf.default
    ]


def print_config(resolved: Resolved) -> str:
    """Return the whole configuration as a YAML file, with the origin of what was set.

    Read as a configuration file it gives the same configuration.
    """
    return "\n".join(_lines(resolved, resolved.config, "", 0)) + "\n"


def _lines(resolved: Resolved, section: Section, prefix: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        path = prefix + field.encode_name
        if is_section(field.type):
            yield f"{indent}{field.encode_name}:"
            yield from _lines(resolved, value, path + ".", depth + 1)
        else:
            line = f"{indent}{field.encode_name}: {_scalar(value, leaves()[path])}"
            origin = resolved.provenance.get(path)
            yield line if origin is None else f"{line:<{_COMMENT_COLUMN}} # {origin}"


def _scalar(value: object, leaf: Leaf) -> str:
    """Return a value as YAML on one line (JSON is YAML)."""
    if isinstance(value, float) and conversion.form(leaf.annotation) == GO_DURATION:
        return conversion.render_duration(value)
    plain = msgspec.to_builtins(value)
    return json.dumps(plain, ensure_ascii=False)


def _name(setting: Setting) -> str:
    return setting.path if setting.in_file else setting.flags[0]


def _by_path(resolved: Resolved) -> dict[str, object]:
    return {
        **dict(_walk(resolved.config, "")),
        **dict(_walk(resolved.options, RUN)),
    }


def _walk(section: Section, prefix: str) -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        path = prefix + field.encode_name
        if is_section(field.type):
            yield from _walk(value, path + ".")
        else:
            yield path, value
