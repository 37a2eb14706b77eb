"""Where values come from, in rising order of trust: file, environment, command line.

This is the one module of the package that reads anything: the file the operator named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field

from agent.config import conversion
from agent.config.problems import Problem
from agent.config.settings import SETTINGS, Setting
from agent.config.tree import leaves
from agent.model.errors import ConfigError

MAX_FILE_BYTES = 1 << 20  # what a ConfigMap can hold


class SourceName(StrEnum):
    """The kinds of source."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


class Origin(Struct, frozen=True, kw_only=True):
    """Where the value of a setting came from."""

    source: SourceName
    where: str
    """``config.yaml:7``, ``environment variable MIG_STRATEGY`` or ``flag --mig-strategy``."""

    def __str__(self) -> str:
        """Return where, or that it is the default."""
        return self.where


BY_DEFAULT = Origin(source=SourceName.DEFAULT, where="default")


class Draft(Struct, kw_only=True):
    """The configuration while the sources are applied, one over the other."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def put(self, path: str, value: object, origin: Origin) -> None:
        """Set a value over whatever an earlier source said."""
        self.values[path] = value
        self.origins[path] = origin

    def put_text(self, setting: Setting, text: str, origin: Origin) -> None:
        """Set a value from text, or note why it does not fit."""
        try:
            value = conversion.from_text(text, leaves()[setting.path].annotation)
        except conversion.UnfitError as unfit:
            path = setting.path if setting.in_file else ""
            self.problems.append(Problem(where=origin.where, path=path, message=str(unfit)))
        else:
            self.put(setting.path, value, origin)

    def origin(self, path: str) -> Origin:
        """Return where a value came from."""
        return self.origins.get(path, BY_DEFAULT)


class Source(Struct, frozen=True, kw_only=True):
    """One place where values come from."""

    name: SourceName
    apply: Callable[[Draft], None]


def file_source(path: Path) -> Source:
    """Return a configuration file as a source. Raises ConfigError when it cannot be read."""
    text = read_text(path)

    def apply(draft: Draft) -> None:
        from agent.config.document import read_document  # noqa: PLC0415 - YAML only if needed

        reading = read_document(text, str(path))
        draft.problems += reading.problems
        for key, found in reading.found.items():
            draft.put(key, found.value, Origin(source=SourceName.FILE, where=found.where))

    return Source(name=SourceName.FILE, apply=apply)


def environment_source(environ: Mapping[str, str]) -> Source:
    """Return the environment as a source."""

    def apply(draft: Draft) -> None:
        for setting in SETTINGS:
            name = environment_name(setting, environ)
            if name is not None:
                where = f"environment variable {name}"
                origin = Origin(source=SourceName.ENVIRONMENT, where=where)
                draft.put_text(setting, environ[name], origin)

    return Source(name=SourceName.ENVIRONMENT, apply=apply)


def command_line_source(given: Mapping[str, tuple[str, str]]) -> Source:
    """Return flags as a source: by path, the flag as it was written and its text."""

    def apply(draft: Draft) -> None:
        for setting in SETTINGS:
            if setting.path in given:
                flag, text = given[setting.path]
                origin = Origin(source=SourceName.COMMAND_LINE, where=f"flag {flag}")
                draft.put_text(setting, text, origin)

    return Source(name=SourceName.COMMAND_LINE, apply=apply)


def environment_name(setting: Setting, environ: Mapping[str, str]) -> str | None:
    """Return the variable that decides a setting; an empty one counts only where it may."""
    return next(
        (n for n in setting.env if environ.get(n) or (setting.empty_counts and n in environ)), None
    )


def apply_all(sources: Sequence[Source]) -> Draft:
    """Return what the sources say together; a later one is trusted more."""
    draft = Draft()
    for source in sources:
        source.apply(draft)
    return draft


def read_text(
    path: Path,
    *,
    kind: str = "configuration file",
    advice: str = "correct --config-file (CONFIG_FILE) or the file's mount",
) -> str:
    """Return the text of a file that an operator wrote; ``kind`` is what messages call it.

    Raises ConfigError that names the file and what to do.
    """
    try:
        raw = read_bytes(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read the {kind} {path}: {reason}; {advice}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB; it is not a {kind}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def read_bytes(path: Path) -> bytes:
    """Return what a file holds, at most one byte more than ``MAX_FILE_BYTES``; never waits.

    Raises OSError, ValueError for a path no file can have, ConfigError for what is no file.
    """
    if stat.S_ISFIFO(path.stat().st_mode):
        raise ConfigError(f"{path} is a pipe; name a file")
    # What became a pipe since, or a terminal, would otherwise wait for somebody to write.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        raw: bytes | None = file.read(MAX_FILE_BYTES + 1)
    if raw is None:
        raise ConfigError(f"{path} has nothing to read yet; name a file")
    return raw
