"""Flags of ``plumbline run``, and the one way from flags, environment and file to a Config.

argparse, because the daemon pays for what it imports and richer parsers cost tens of
milliseconds and megabytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from msgspec import Struct

from agent.config import checks, conversion, sources
from agent.config.options import RunOptions
from agent.config.problems import Problem, refuse
from agent.config.schema import Config
from agent.config.settings import SETTINGS, Setting
from agent.config.sources import Draft, Origin, Source
from agent.config.tree import RUN, assemble, leaves
from agent.model.errors import ConfigError

_GROUPS = {
    "run": "this run",
    "flags": "devices",
    "flags.plugin": "device plugin",
    "imex": "IMEX",
    "plumbline": "Plumbline",
}


class Resolved(Struct, frozen=True, kw_only=True):
    """What the operator asked for, and where each value came from."""

    config: Config
    options: RunOptions
    provenance: Mapping[str, Origin]
    """By path, for every setting that is not left at its default."""
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    """The variables that are settings, as they were; ``reload`` reads them again."""


class _Parser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; `{self.prog} --help` lists the flags")


class _Keep(argparse.Action):
    """Keeps the flag as written beside its text; repeated lists add up."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        given: dict[str, tuple[str, str]] = namespace.given
        text = str(values)
        if self.dest in given and conversion.is_list(leaves()[self.dest].annotation):
            text = f"{given[self.dest][1]},{text}"
        given[self.dest] = (option_string or self.dest, text)


def resolve(argv: Sequence[str], environ: Mapping[str, str]) -> Resolved:
    """Return the configuration: command line over environment over file over default.

    Raises ConfigError that names every problem of every source. ``--help`` exits.
    """
    given = parse_flags(argv)
    outer = [sources.environment_source(environ), sources.command_line_source(given)]
    file = assemble(RunOptions, sources.apply_all(outer).values, RUN).config_file
    inner = [sources.file_source(Path(file))] if file else []
    return _resolved([*inner, *outer], argv, environ)


def reload(previous: Resolved) -> Resolved:
    """Return the configuration read again, with the flags and variables of the first time.

    Raises ConfigError; the previous value is then still good.
    """
    return resolve(previous.argv, previous.environ)


def parse_flags(argv: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the flags given, by path: each as written, with its text. Raises ConfigError."""
    parser = build_parser()
    namespace, unknown = parser.parse_known_args(argv, argparse.Namespace(given={}))
    if unknown:
        known = [flag for setting in SETTINGS for flag in setting.flags]
        parser.error("; ".join(_unknown_flag(each, known) for each in unknown))
    given: dict[str, tuple[str, str]] = namespace.given
    return given


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``plumbline run``, made from the table of settings."""
    parser = _Parser(
        prog="plumbline run",
        description="Serve this node's GPUs to the kubelet. A flag is trusted more than its "
        "environment variable, and that more than the configuration file.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        usage="%(prog)s [flags]",
    )
    groups = {name: parser.add_argument_group(title) for name, title in _GROUPS.items()}
    for setting in SETTINGS:
        if setting.flags:
            group = max((g for g in groups if setting.path.startswith(g + ".")), key=len)
            _add_flag(groups[group], setting)
    return parser


def _resolved(
    ordered: Sequence[Source], argv: Sequence[str], environ: Mapping[str, str]
) -> Resolved:
    draft = sources.apply_all(ordered)
    config = assemble(Config, draft.values)
    clashes = checks.find_clashes(config, _unread(draft))
    refuse([*draft.problems, *(_located(clash, draft) for clash in clashes)])
    names = {name for setting in SETTINGS for name in setting.env}
    return Resolved(
        config=config,
        options=assemble(RunOptions, draft.values, RUN),
        provenance=MappingProxyType(draft.origins),
        argv=tuple(argv),
        environ=MappingProxyType({k: v for k, v in environ.items() if k in names}),
    )


def _unread(draft: Draft) -> set[str]:
    """Return the settings that a problem leaves at a default nobody asked for."""
    wrong = [problem.path for problem in draft.problems]
    return {
        path
        for path in leaves()
        if any(not each or _is_within(each, path) or _is_within(path, each) for each in wrong)
    }


def _located(clash: checks.Clash, draft: Draft) -> Problem:
    """Return a clash as a problem, with the place the operator has to correct."""
    origin = next((o for p, o in draft.origins.items() if _is_within(clash.path, p)), None)
    return Problem(where=str(origin or ""), path=clash.path, message=clash.message)


def _is_within(path: str, setting: str) -> bool:
    """Return True when a path names the setting or something inside its value."""
    return path == setting or path.startswith((setting + ".", setting + "["))


def _add_flag(group: argparse._ArgumentGroup, setting: Setting) -> None:
    annotation = leaves()[setting.path].annotation
    switch = conversion.is_boolean(annotation)
    group.add_argument(
        *setting.flags,
        dest=setting.path,
        action=_Keep,
        nargs="?" if switch else None,
        const="true" if switch else None,
        metavar=_metavar(setting, annotation),
        help=_help(setting).replace("%", "%%"),
    )


def _metavar(setting: Setting, annotation: object) -> str:
    if setting.metavar:
        return setting.metavar
    if conversion.is_boolean(annotation):
        return "BOOL"
    if conversion.is_list(annotation):
        return _choice(conversion.item_type(annotation), "ITEM") + "[,...]"
    return _choice(annotation, "VALUE")


def _choice(annotation: object, otherwise: str) -> str:
    return "|".join(conversion.options(annotation)) or otherwise


def _help(setting: Setting) -> str:
    default = conversion.render(leaves()[setting.path].default)
    notes = [f"default: {default}"] if default else []
    notes += [f"env: {', '.join(setting.env)}"] if setting.env else []
    notes += [f"file: {setting.path}"] if setting.in_file else []
    return f"{setting.help} [{'; '.join(notes)}]"


def _unknown_flag(word: str, known: Iterable[str]) -> str:
    name = word.partition("=")[0]
    alike = conversion.nearest(name, known) if name.startswith("-") else None
    hint = f", did you mean {alike}?" if alike else ""
    return f"unknown flag {name!r}{hint}" if name.startswith("-") else f"unexpected {word!r}"
