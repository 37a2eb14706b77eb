"""What is wrong with the operator's input, gathered so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from agent.model.errors import ConfigError


class Problem(Struct, frozen=True, kw_only=True):
    """One thing to correct."""

    where: str
    """``config.yaml:7``, ``environment variable MIG_STRATEGY`` or ``flag --mig-strategy``."""
    path: str
    """The setting; empty when it is about the whole file."""
    message: str

    def __str__(self) -> str:
        """Return the problem on one line."""
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


def refuse(problems: Iterable[Problem]) -> None:
    """Raise ConfigError that names every problem, if there is one."""
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    if len(lines) == 1:
        raise ConfigError(lines[0])
    if lines:
        listed = "\n".join(f"  {line}" for line in lines)
        raise ConfigError(f"{len(lines)} problems in the configuration:\n{listed}")
