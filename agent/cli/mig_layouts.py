"""`plumbline mig layouts` and `export`: which layouts there are, and the one that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from agent.cli import render
from agent.cli.inspect import DriverRootOption, MachineOption
from agent.cli.mig_sources import FileOption, GpuOption, chosen, made_layouts, opened
from agent.cli.render import Format
from agent.model.errors import ConfigError

if TYPE_CHECKING:
    from agent.config.layouts import Layout
    from agent.discovery.mig_gpus import MigReading


class LayoutAnswer(Struct, frozen=True, kw_only=True):
    """One layout on this node."""

    name: str
    where: str
    """Where it is declared."""
    state: str
    """``now``: the GPUs are divided so. ``fits``: they can be. ``unfit``: they cannot."""
    problems: tuple[str, ...]
    """Why it does not fit."""


def layouts(
    file: FileOption = None,
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
) -> None:
    """List the layouts of a file, or those that fit this hardware, and which of them is now.

    Exit codes: 0 done, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline mig layouts --machine /tmp/dgx
    """
    from agent.config.layout_sources import layouts_in  # noqa: PLC0415
    from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415

    with opened(machine, driver_root):
        readings = read_mig_gpus()
    found = made_layouts(readings) if file is None else layouts_in(file)[0]
    answers = [_answer(each, readings) for each in found.values()]
    if output is not Format.TABLE:
        render.write(answers, output)
        return
    width = max((len(each.name) for each in answers), default=0)
    for each in answers:
        typer.echo(f"{each.name:{width}}  {each.state}")
        for problem in each.problems:
            typer.echo(f"  {problem}")


def export(
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
    gpu: GpuOption = None,
    name: Annotated[
        str, typer.Option("-c", "--config-label", metavar="NAME", help="What to call the layout.")
    ] = "current",
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it: yaml or json.")
    ] = Format.YAML,
) -> None:
    """Print how the GPUs are divided, as a file of mig-parted that `-f` takes.

    What that format cannot say is noted on stderr.

    Exit codes: 0 done, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline mig export --machine /tmp/dgx > now.yaml
    """
    from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415
    from agent.partition.goal import divisible  # noqa: PLC0415
    from agent.planning.layout_export import GpuState, export_layout  # noqa: PLC0415
    from agent.planning.layout_generation import layout_document  # noqa: PLC0415

    with opened(machine, driver_root):
        readings = read_mig_gpus()
    only = chosen(readings, gpu)
    exported = export_layout(
        [
            GpuState(gpu=divisible(each), enabled=each.enabled, instances=each.instances)
            for each in readings
        ],
        only,
    )
    if not exported.entries:
        raise ConfigError("no GPU of this node can do MIG: there is nothing to export")
    form = Format.YAML if output is Format.TABLE else output
    render.write(layout_document({name: exported.entries}), form)
    for note in exported.notes:
        typer.echo(f"note: {note}", err=True)


def _answer(layout: Layout, readings: Sequence[MigReading]) -> LayoutAnswer:
    from agent.partition.goal import feasible, goal_of, plan  # noqa: PLC0415
    from agent.planning.mig_outcome import Blocked  # noqa: PLC0415

    state, problems = "fits", tuple[str, ...]()
    try:
        outcomes = plan(readings, goal_of(layout, readings), held={})
        # What a process works on is in the way for now; the layout fits the GPUs all the same.
        possible = [each for each in outcomes if not isinstance(each, Blocked)]
        feasible(possible, readings, may_reset=True)
        state = "fits" if outcomes else "now"
    except ConfigError as error:
        state, problems = "unfit", tuple(str(error).splitlines())
    return LayoutAnswer(name=layout.name, where=layout.where, state=state, problems=problems)
