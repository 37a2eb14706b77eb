"""From what was written to the value of a setting's type, or to words that say what would fit.

Two spellings exist: text (a flag, an environment variable) and a value that YAML has
already given a type (a file). Both end in the same check against the schema.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Annotated, get_args, get_origin

import msgspec
from msgspec import inspect

from agent.config.section import GO_DURATION

TRUE_WORDS = ("true", "1", "t", "yes", "y", "on")
FALSE_WORDS = ("false", "0", "f", "no", "n", "off")

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60,
    "h": 3600,
}
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")

_SHOWN_CHARACTERS = 80

_PLAIN_WORDS: dict[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.StructType: "a mapping",
    inspect.DictType: "a mapping",
}


class UnfitError(ValueError):
    """A value that its setting cannot take; the message says what would fit."""


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option most like ``word``, whatever its case; None when none is alike."""
    by_folded = {option.casefold(): option for option in options}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def show(value: object) -> str:
    """Return a value as a message quotes it: short, on one line."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            text = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "..."
            return repr(text)
        case _:
            return str(value)[:_SHOWN_CHARACTERS]


def expectation(annotation: object) -> str:
    """Return what a value of this type looks like, in words."""
    return _describe(inspect.type_info(annotation))


def from_text(text: str, annotation: object) -> object:
    """Return the value that a flag or an environment variable spells.

    Raises UnfitError.
    """
    text = text.strip()
    info = plain(annotation)
    match info:
        case _ if form(annotation) == GO_DURATION:
            return check(text, annotation)
        case inspect.BoolType():
            return _boolean(text)
        case inspect.IntType() | inspect.FloatType():
            return check(_number(text), annotation)
        case inspect.VarTupleType():
            parts = [part.strip() for part in text.split(",")]
            items = [from_text(part, item_type(annotation)) for part in parts if part]
            return check_items(items, annotation)
        case inspect.UnionType():
            return check(_number(text) if text.isdecimal() else text, annotation)
        case _:
            return check(text, annotation)


def check(value: object, annotation: object, *, raw: str | None = None) -> object:
    """Return a scalar as a value of its type; empty text is None where None is allowed.

    ``raw`` is how YAML had it written. Raises UnfitError.
    """
    if value == "" and is_optional(annotation):
        return None
    if isinstance(value, str):
        value = _whole(value)
    try:
        read = _duration(value) if form(annotation) == GO_DURATION else value
        return msgspec.convert(read, annotation, strict=True)
    except msgspec.ValidationError:
        raise UnfitError(_complaint(value, annotation, raw)) from None


def _whole(text: str) -> str:
    """Return text with characters that JSON escaped in two halves (RFC 8259, 7) joined.

    Raises UnfitError for half a character, as bytes that are not UTF-8 leave it in a variable.
    """
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise UnfitError(f"{text!a} is no text: write it in UTF-8") from None


def check_items(items: list[object], annotation: object) -> tuple[object, ...]:
    """Return checked items as the tuple their setting holds. Raises UnfitError."""
    info = plain(annotation)
    if isinstance(info, inspect.VarTupleType) and len(items) < (info.min_length or 0):
        wanted = expectation(item_type(annotation))
        raise UnfitError(f"the list is empty; expected at least one item: {wanted}")
    return tuple(items)


def plain(annotation: object) -> inspect.Type:
    """Return what msgspec knows of a type, without its metadata."""
    info = inspect.type_info(annotation)
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def form(annotation: object) -> str | None:
    """Return the special way of writing a type asks for, if any."""
    info = inspect.type_info(annotation)
    return (info.extra or {}).get("form") if isinstance(info, inspect.Metadata) else None


def item_type(annotation: object) -> object:
    """Return the type of a list's items."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return next(iter(get_args(annotation)))


def entry_types(annotation: object) -> tuple[object, object]:
    """Return the types of a mapping's keys and values."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    key, value = get_args(annotation)
    return key, value


def is_optional(annotation: object) -> bool:
    """Return True when the setting may be left unset."""
    info = plain(annotation)
    return isinstance(info, inspect.UnionType) and info.includes_none


def is_boolean(annotation: object) -> bool:
    """Return True for a switch."""
    return isinstance(plain(annotation), inspect.BoolType)


def is_list(annotation: object) -> bool:
    """Return True for a list."""
    return isinstance(plain(annotation), inspect.VarTupleType)


def options(annotation: object) -> list[str]:
    """Return the words a setting offers; empty when it offers no choice."""
    return _options(plain(annotation))


def render(value: object) -> str:
    """Return a value as a flag or an environment variable spells it; empty for None."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple() | dict():
            return ",".join(render(each) for each in value)
        case _:
            return str(value)


def render_duration(seconds: float) -> str:
    """Return seconds as a file spells them."""
    return "infinite" if math.isinf(seconds) else f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _describe(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=schema):
            return str((schema or {}).get("description") or _describe(inner))
        case inspect.IntType(ge=int(least)):
            return f"a whole number, {least} or more"
        case inspect.EnumType() | inspect.LiteralType():
            options = _options(info)
            return options[0] if len(options) == 1 else "one of " + ", ".join(options)
        case inspect.VarTupleType(item_type=item):
            return f"a list (each item: {_describe(item)})"
        case inspect.UnionType(types=types):
            some = [each for each in types if not isinstance(each, inspect.NoneType)]
            return " or ".join(_describe(each) for each in some)
        case _:
            return _PLAIN_WORDS.get(type(info), "text")


def _options(info: inspect.Type) -> list[str]:
    match info:
        case inspect.EnumType(cls=cls):
            return [str(member.value) for member in cls]
        case inspect.LiteralType(values=values):
            return [str(value) for value in values]
        case inspect.UnionType(types=types):
            return [option for each in types for option in _options(each)]
        case _:
            return []


def _boolean(text: str) -> bool:
    word = text.casefold()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise UnfitError(f"{show(text)} is neither true nor false")
    return word in TRUE_WORDS


def _number(text: str) -> object:
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return text


def _duration(value: object) -> object:
    if value in {"infinite", "inf"}:
        return math.inf
    if not isinstance(value, str):
        return None  # a number without a unit fits nowhere: upstream reads it as nanoseconds
    parts = _DURATION_PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)


def _complaint(value: object, annotation: object, raw: str | None) -> str:
    said, expected = show(value), expectation(annotation)
    if isinstance(value, bool) and raw is not None and raw.lower() != said:
        return f"YAML reads {raw} as {said}; expected {expected} (put text in quotes)"
    if isinstance(value, str):
        alike = nearest(value, _options(plain(annotation)))
        if alike is not None:
            return f"{said} is not {expected}; did you mean {alike!r}?"
        if raw is not None and _fits(_unquoted(value), annotation):
            return f"{said} is text; expected {expected} (leave the quotes out)"
    elif raw is not None and _fits(raw, annotation):
        return f"YAML reads {raw} as a number; expected {expected} (put it in quotes)"
    return f"{said} is not {expected}"


def _unquoted(text: str) -> object:
    return text == "true" if text in {"true", "false"} else _number(text)


def _fits(value: object, annotation: object) -> bool:
    try:
        msgspec.convert(value, annotation, strict=True)
    except msgspec.ValidationError:
        return False
    return True
