"""`plumbline place`: which GPUs a request would get on this node, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import answers, render
from agent.cli.gpus import FreeOption, LiveOption, WithoutOption, ask_node, split, uuid_of, uuids_of
from agent.cli.inspect import DriverRootOption, MachineOption, look
from agent.cli.render import Format, plain
from agent.cli.running_agent import SocketOption
from agent.config.own import PlacementPolicy
from agent.model.errors import ConfigError
from agent.model.inventory import Inventory

if TYPE_CHECKING:
    from agent.planning.answer import Answer
    from agent.planning.placement import Placement, PlacementTable


def place(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command
    size: Annotated[int, typer.Argument(metavar="K", min=1, help="How many GPUs.")],
    free: FreeOption = None,
    must: Annotated[
        list[str] | None,
        typer.Option("--must", metavar="GPU[,...]", help="What has to be among them."),
    ] = None,
    without: WithoutOption = None,
    nics: Annotated[
        int, typer.Option("--nics", metavar="M", min=0, help="How many NICs beside them.")
    ] = 0,
    policy: Annotated[
        PlacementPolicy, typer.Option("--policy", help="What counts first.")
    ] = PlacementPolicy.DEFAULT,
    machine: MachineOption = None,
    live: LiveOption = False,  # noqa: FBT002 - typer reads it as a flag
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
    driver_root: DriverRootOption = Path("/"),
    socket: SocketOption = None,
) -> None:
    """Say which GPUs a request for K would get, and why; nothing is given away.

    GPUs are named by index or UUID. Exit codes: 0 done, 1 no agent answers --live, 2 bad input
    or an impossible request, 3 no NVIDIA driver.

    Example: plumbline place 2 --nics 2 --free 0,3,5,6 --machine /tmp/dgx
    """
    named = split(free)
    if live:
        named = ask_node(machine, socket, free=free)["free_gpus"]
    answer = find(
        look(machine, driver_root),
        size,
        free=named,
        must=split(must) or (),
        without=split(without) or (),
        nics=nics,
        policy=policy,
    )
    if output is Format.TABLE:
        typer.echo("\n".join(answers.lines(plain(answer))))
    else:
        render.write(answer, output)


def find(
    found: Inventory,
    size: int,
    *,
    free: Sequence[str] | None = None,
    must: Sequence[str] = (),
    without: Sequence[str] = (),
    nics: int = 0,
    policy: PlacementPolicy = PlacementPolicy.DEFAULT,
) -> Answer:
    """Return the best set of a node; raise ConfigError for a request that cannot be met."""
    # Imported here: the other commands need no engine.
    from agent.planning.enough_nics import choose_with_nics  # noqa: PLC0415
    from agent.planning.placement import PlacementTable, Request  # noqa: PLC0415
    from agent.planning.preference import engine_policy  # noqa: PLC0415
    from agent.planning.strategy import in_mig_mode  # noqa: PLC0415

    away = uuids_of(found, without)
    gpus = [gpu for gpu in found.gpus if gpu.uuid not in away]
    # Who names a GPU that is divided knows that the agent offers it whole.
    whole = {gpu.uuid for gpu in gpus if not in_mig_mode(gpu)}
    offered = whole if free is None else uuids_of(found, free) - away
    needed = [uuid_of(found, name) for name in must]
    _check(size, offered, needed, away, divided=len(gpus) - len(whole) if free is None else 0)
    table = PlacementTable(found, gpus)
    request = Request(
        available=tuple(sorted(offered)),
        must_include=tuple(needed),
        size=size,
        policy=engine_policy(policy),
        rails=nics,
    )
    return _answer(found, table, choose_with_nics(table, request), nics)


def _check(
    size: int, offered: set[str], needed: Sequence[str], away: set[str], *, divided: int
) -> None:
    if away & set(needed):
        raise ConfigError("--must names a GPU that --without takes away")
    there = len(offered | set(needed))
    if size > there:
        beside = f"; {divided} in MIG mode are given in instances" if divided else ""
        raise ConfigError(f"{size} GPUs are asked for and {there} are free{beside}")
    if len(set(needed)) > size:
        raise ConfigError(f"--must names {len(set(needed))} GPUs and {size} are asked for")


def _answer(found: Inventory, table: PlacementTable, given: Placement, nics: int) -> Answer:
    from agent.planning.answer import answer_of  # noqa: PLC0415

    rails = given.explanation.rails
    if len(rails) < nics:
        raise ConfigError(
            f"{nics} NICs are asked for and no set of {len(given.devices)} GPUs has them beside"
            f" it; the best one has {len(rails)}"
        )
    index = {gpu.uuid: gpu.index for gpu in found.gpus}
    ordered = sorted(given.devices, key=lambda uuid: index[uuid])
    return answer_of(given, index, nics=table.model.rails_for(ordered, nics) if nics else None)
