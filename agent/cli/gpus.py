"""GPUs as options name them, and the node that a command about placement looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.running_agent import ask, socket_of
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
    bool,
    typer.Option("--live", help="As it is at this moment: the running agent says what is free."),
]


def ask_node(machine: Path | None, socket: Path | None, *, free: object) -> Mapping[str, Any]:
    """Return what the running agent says of its node: free GPUs, and devices by resource.

    Raises ConfigError where ``free`` says as well what is free, NoAgentError where none runs.
    """
    if free is not None:
        raise ConfigError("--live and --free exclude each other: both say what is free")
    answer: Mapping[str, Any] = ask(socket_of(machine, socket), ask="node")
    return answer


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
