"""Decodes YAML into a Struct, refusing what is not in its schema by path and nearest key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable
from typing import TypeVar

import msgspec
import yaml

from agent.model.errors import ConfigError

T = TypeVar("T")

_UNKNOWN_FIELD = re.compile(
    r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `(?P<path>.*)`)?"
)
_DEEPEST = 100
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>[^\]]*)\]")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without what 1.1 makes of plain words and without double keys.

    ``18:00.0`` is a PCI address, not a number to base 60; ``off`` is a word.
    """

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - PyYAML's signature
    ) -> dict[Hashable, object]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Hashable, object] = super().construct_mapping(node, deep)
        return mapping


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|)\Z"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)\Z"), ["t", "f"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]*)\Z"), list("-0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?[0-9]+\.[0-9]+\Z"), list("-0123456789")
)


def decode(text: str | bytes, kind: type[T], *, where: str) -> T:
    """Return ``text`` as a value of ``kind``.

    Raises ConfigError that names ``where`` (a file), the path inside it and, for an unknown
    key, the nearest right one.
    """
    try:
        _check_depth(text, where)
        plain = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
        return msgspec.convert(plain, kind)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: not YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(str(error), kind)}") from error


def _check_depth(text: str | bytes, where: str) -> None:
    """Refuse nesting that the loader, which recurses in C, would crash on."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"{where}: is nested more than {_DEEPEST} levels deep")


def _explain(message: str, kind: type) -> str:
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown is None:
        return message
    path = unknown["path"] or "$"
    known = _keys_at(kind, path)
    near = difflib.get_close_matches(unknown["key"], known, n=1, cutoff=0)
    hint = f"; the nearest known key is '{near[0]}'" if near else ""
    return f"unknown key '{unknown['key']}' at {path}{hint}"


def _keys_at(kind: type, path: str) -> list[str]:
    """Return the keys the schema allows where msgspec's path (``$.pci[0].ports``) points."""
    here: list[msgspec.inspect.Type] = [msgspec.inspect.type_info(kind)]
    for step in _STEP.finditer(path):
        here = [inner for outer in here for inner in _descend(outer, step["field"])]
    return [
        field.encode_name
        for struct in here
        if isinstance(struct, msgspec.inspect.StructType)
        for field in struct.fields
    ]


def _descend(kind: msgspec.inspect.Type, name: str | None) -> list[msgspec.inspect.Type]:
    inner: list[msgspec.inspect.Type] = []
    for option in kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,):
        match option:
            case msgspec.inspect.StructType(fields=fields):
                inner += [field.type for field in fields if field.encode_name == name]
            case msgspec.inspect.DictType(value_type=value):
                inner.append(value)
            case (
                msgspec.inspect.VarTupleType(item_type=item)
                | msgspec.inspect.ListType(item_type=item)
            ):
                inner.append(item)
    return [
        final
        for found in inner
        for final in (found.types if isinstance(found, msgspec.inspect.UnionType) else (found,))
    ]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
