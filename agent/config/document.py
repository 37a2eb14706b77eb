"""The text of a configuration file to the settings in it, with the line of each. Pure.

The walk follows the schema, not the document: what the schema does not name is refused with
the nearest key, and neither depth nor aliases of a hostile file matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypeVar, get_args

import msgspec
import yaml
from msgspec import Struct, field, inspect

from agent.config import conversion
from agent.config.problems import Problem
from agent.config.schema import Config
from agent.config.section import ONE_OR_MANY, Section, Words
from agent.config.tree import RUN, is_section, leaves

S = TypeVar("S", bound=Struct)

_YAML = "tag:yaml.org,2002:"
_NULL, _MERGE = _YAML + "null", _YAML + "merge"
_NUMBERS = frozenset({_YAML + "int", _YAML + "float"})
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]{1,3}")
_MISSING = object()
"""In place of a value that could not be read."""

_scalars = yaml.constructor.SafeConstructor()


class Found(Struct, frozen=True, kw_only=True):
    """A setting that the file holds."""

    value: object
    where: str


class Reading(Struct, kw_only=True):
    """One file being read."""

    name: str
    """Its path, as the operator gave it."""
    found: dict[str, Found] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """File and line by path, of every value that was looked at."""
    problems: list[Problem] = field(default_factory=list)

    def where(self, node: yaml.Node) -> str:
        """Return file and line of a node."""
        return f"{self.name}:{node.start_mark.line + 1}"

    def complain(self, node: yaml.Node, path: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(where=self.where(node), path=path, message=message))


def read_document(text: str, name: str) -> Reading:
    """Return what a file says and what is wrong with it; ``name`` is what messages call it."""
    reading = Reading(name=name)
    root = _compose(reading, text)
    if root is not None:
        _read_section(reading, root, Config, "")
    return reading


def read_struct(text: str, name: str, *, kind: type[S]) -> tuple[S | None, Reading]:
    """Return a file of another shape than a configuration as one value, and its problems.

    None when there are some.
    """
    reading = Reading(name=name)
    root = _compose(reading, text)
    if root is None and not reading.problems:
        keys = ", ".join(each.encode_name for each in msgspec.structs.fields(kind))
        message = f"is empty; write {keys}, or remove the file"
        reading.problems.append(Problem(where=name, path="", message=message))
    value = None if root is None else _read_struct(reading, root, kind, "")
    return value if isinstance(value, kind) else None, reading


def _compose(reading: Reading, text: str) -> yaml.Node | None:
    """Return the file as nodes; None for an empty one, or with a problem noted."""
    problem: Problem
    try:
        root: yaml.Node | None = yaml.compose(_without_json_tabs(text), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = _syntax_problem(error, reading.name)
    except RecursionError:
        problem = Problem(where=reading.name, path="", message="is nested too deeply")
    else:
        return root
    reading.problems.append(problem)
    return None


def _read_section(reading: Reading, node: yaml.Node, section: type[Section], path: str) -> None:
    """Put the settings of a section, and of those inside it, into ``reading.found``."""
    for key, value, field_info in _entries(reading, node, section, path):
        inner = _join(path, key)
        if is_section(field_info.type):
            _read_section(reading, value, field_info.type, inner)
            continue
        got = _read(reading, value, field_info.type, inner)
        if got is not _MISSING:
            reading.found[inner] = Found(value=got, where=reading.where(value))


def _read(reading: Reading, node: yaml.Node, annotation: object, path: str) -> object:
    """Return the value of a node, or _MISSING with a problem noted."""
    reading.places[path] = reading.where(node)
    chosen = _alternative(node, annotation)
    info = conversion.plain(chosen)
    if isinstance(info, inspect.StructType):
        return _read_struct(reading, node, info.cls, path)
    if isinstance(info, inspect.VarTupleType):
        return _read_list(reading, node, chosen, path)
    if isinstance(info, inspect.DictType):
        return _read_map(reading, node, chosen, path)
    return _read_scalar(reading, node, chosen, path)


def _alternative(node: yaml.Node, annotation: object) -> object:
    """Return the member of a union that a node of this kind can be; else the type itself."""
    wanted: dict[type[yaml.Node], tuple[type[inspect.Type], ...]] = {
        yaml.MappingNode: (inspect.StructType, inspect.DictType),
        yaml.SequenceNode: (inspect.VarTupleType,),
    }
    if isinstance(conversion.plain(annotation), inspect.UnionType):
        members = [(each, conversion.plain(each)) for each in get_args(annotation)]
        lone = (each for each, _ in members if conversion.form(each) == ONE_OR_MANY)
        if isinstance(node, yaml.ScalarNode):
            return next(lone, annotation)
        kind = wanted.get(type(node), ())
        return next((each for each, info in members if isinstance(info, kind)), annotation)
    return annotation


def _read_struct(reading: Reading, node: yaml.Node, section: type[Struct], path: str) -> object:
    before = len(reading.problems)
    values: dict[str, object] = {}
    for key, value, info in _entries(reading, node, section, path):
        values[info.name] = _read(reading, value, info.type, _join(path, key))
    needed = [f for f in msgspec.structs.fields(section) if f.required and f.name not in values]
    if len(reading.problems) == before:
        for each in needed:
            expected = conversion.expectation(each.type)
            reading.complain(
                node, _join(path, each.encode_name), f"is missing; expected {expected}"
            )
    return _MISSING if len(reading.problems) > before else section(**values)


def _read_map(reading: Reading, node: yaml.Node, annotation: object, path: str) -> object:
    """Return a mapping whose keys are the operator's own words."""
    if not isinstance(node, yaml.MappingNode):
        reading.complain(node, path, f"{_show(node)} is not {conversion.expectation(annotation)}")
        return _MISSING
    named, kind = conversion.entry_types(annotation)
    before = len(reading.problems)
    values: dict[object, object] = {}
    for key, value in _pairs(reading, node, path):
        inner = f"{path}[{key.value}]"
        try:
            values[conversion.check(key.value, named)] = _read(reading, value, kind, inner)
            reading.places[inner] = reading.where(key)
        except conversion.UnfitError as unfit:
            reading.complain(key, inner, str(unfit))
    return _MISSING if len(reading.problems) > before else Words(values)


def _read_list(reading: Reading, node: yaml.Node, annotation: object, path: str) -> object:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    lone = conversion.form(annotation) == ONE_OR_MANY and isinstance(node, yaml.ScalarNode)
    if not isinstance(node, yaml.SequenceNode) and not lone:
        expected = conversion.expectation(annotation)
        reading.complain(node, path, f"{_show(node)} is not {expected}")
        return _MISSING
    item = conversion.item_type(annotation)
    items = [_read(reading, each, item, f"{path}[{i}]") for i, each in enumerate(nodes)]
    if any(each is _MISSING for each in items):
        return _MISSING
    try:
        return conversion.check_items(items, annotation)
    except conversion.UnfitError as unfit:
        reading.complain(node, path, str(unfit))
        return _MISSING


def _read_scalar(reading: Reading, node: yaml.Node, annotation: object, path: str) -> object:
    try:
        if not isinstance(node, yaml.ScalarNode):
            expected = conversion.expectation(annotation)
            raise conversion.UnfitError(f"{_show(node)} is not {expected}")  # noqa: TRY301
        return conversion.check(_plain_value(node), annotation, raw=node.value)
    except conversion.UnfitError as unfit:
        reading.complain(node, path, str(unfit))
        return _MISSING


def _plain_value(node: yaml.ScalarNode) -> object:
    """Return a scalar as YAML types it, but for what is surely meant as it is written.

    Raises UnfitError for a tag of somebody's own.
    PyYAML follows YAML 1.1 to the letter, where 1:0 is sixty and 1e3 is text; upstream's
    reader takes the first for text and the second for a number.
    """
    if node.tag == _YAML + "timestamp" or (node.tag in _NUMBERS and ":" in node.value):
        return node.value
    if node.style is None and _EXPONENT.fullmatch(node.value):
        return float(node.value)
    try:
        return _scalars.construct_object(node)
    except yaml.YAMLError:
        raise conversion.UnfitError(
            f"the YAML tag {node.tag!r} is not known; leave it out"
        ) from None
    except (ValueError, OverflowError):
        return node.value


def _entries(
    reading: Reading, node: yaml.Node, section: type[Struct], path: str
) -> Iterator[tuple[str, yaml.Node, msgspec.structs.FieldInfo]]:
    """Return the known keys of a mapping that have a value; complain about the others."""
    if node.tag == _NULL:
        return
    if not isinstance(node, yaml.MappingNode):
        reading.complain(node, path, f"{_show(node)} is not a mapping")
        return
    fields = {each.encode_name: each for each in msgspec.structs.fields(section)}
    for key, value in _pairs(reading, node, path):
        if key.value not in fields:
            reading.complain(key, _join(path, key.value), _unknown(key.value, value, section))
        elif value.tag != _NULL:
            yield key.value, value, fields[key.value]


def _pairs(
    reading: Reading, node: yaml.MappingNode, path: str
) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return keys and values of a mapping, merge keys resolved and duplicates refused."""
    own: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        elif not isinstance(key, yaml.ScalarNode):
            reading.complain(key, path, "a key must be text")
        elif key.value in own:
            first = own[key.value][0].start_mark.line + 1
            message = f"the key stands twice, first on line {first}; keep one"
            reading.complain(key, _join(path, key.value), message)
        else:
            own[key.value] = (key, value)
    for source in merged:
        if not isinstance(source, yaml.MappingNode) or source is node:
            reading.complain(source, path, "<< must name a mapping")
            continue
        for key, value in source.value:
            own.setdefault(str(key.value), (key, value))
    return list(own.values())


def _unknown(key: str, value: yaml.Node, section: type[Struct]) -> str:
    keys = [each.encode_name for each in msgspec.structs.fields(section)]
    elsewhere = [
        path
        for path in leaves()
        if path.rpartition(".")[2].casefold() == key.casefold()
        and not path.startswith(RUN)
        and issubclass(section, Section)
    ]
    alike = conversion.nearest(key, keys) or next(iter(elsewhere), None)
    said = f"unknown key (value: {_show(value)})"
    if alike is not None:
        return f"{said}; did you mean {alike!r}?"
    return f"{said}; the keys here are {', '.join(sorted(keys))}"


def _show(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        known = node.tag in _scalars.yaml_constructors
        return conversion.show(_plain_value(node) if known else node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _without_json_tabs(text: str) -> str:
    """Return JSON with its tabs as blanks, which YAML needs; any other text as it is."""
    if "\t" in text and text.lstrip().startswith("{"):
        try:
            json.loads(text)
        except ValueError:
            return text
        return text.replace("\t", " ")  # JSON allows no raw tab inside a string
    return text


def _syntax_problem(error: yaml.YAMLError, name: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(where=name, path="", message=f"not YAML: {str(error).splitlines()[0]}")
    mark = error.problem_mark or error.context_mark
    where = name if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}"
    reason = " ".join(part for part in (error.context, error.problem) if part)
    hint = "; indent with blanks, YAML allows no tabs" if "\\t" in reason else ""
    return Problem(where=where, path="", message=f"not YAML: {reason}{hint}")
