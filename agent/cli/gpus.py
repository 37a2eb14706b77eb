"""GPUs as options name them, and the node that a command about placement looks at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.inspect import look
from agent.model.errors import ConfigError
from agent.model.inventory import Inventory

FreeOption = Annotated[
    list[str] | None,
    typer.Option("--free", metavar="GPU[,...]", help="What is free; all when left out."),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="GPU[,...]", help="As if these were not there."),
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="The node this runs on, as without --machine.")
]


def look_at(machine: Path | None, driver_root: Path, *, live: bool) -> Inventory:
    """Return what the node or the simulated machine has; raise ConfigError where both are meant."""
    if live and machine is not None:
        raise ConfigError("--live and --machine exclude each other: leave one out")
    return look(machine, driver_root)


def split(options: list[str] | None) -> list[str] | None:
    """Return the names in a list option, given once with commas or several times."""
    if options is None:
        return None
    return [name for option in options for name in option.split(",") if name]


def uuids_of(found: Inventory, named: Iterable[str]) -> set[str]:
    """Return the UUIDs of GPUs by index or UUID; raise ConfigError for one not there."""
    return {uuid_of(found, name) for name in named}


def uuid_of(found: Inventory, name: str) -> str:
    """Return the UUID of a GPU by index or UUID; raise ConfigError where there is none."""
    for gpu in found.gpus:
        if name in (str(gpu.index), gpu.uuid):
            return gpu.uuid
    known = ", ".join(str(gpu.index) for gpu in found.gpus)
    raise ConfigError(f"no GPU '{name}' on this node: it has {known}, by index or by UUID")
