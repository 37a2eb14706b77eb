"""`plumbline mig plan`, `apply` and `assert`: from a layout to divided GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import render
from agent.cli.inspect import DriverRootOption, MachineOption
from agent.cli.mig_held import held_on
from agent.cli.mig_sources import (
    FileOption,
    GpuOption,
    KubeletOption,
    LayoutOption,
    Looked,
    look,
    opened,
)
from agent.cli.render import Format
from agent.model.errors import BusyError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.cli.mig_answers import PlanAnswer
    from agent.discovery.mig_gpus import MigReading
    from agent.planning.mig_outcome import MigOutcome
    from agent.planning.mig_steps import MigStep

OutputOption = Annotated[Format, typer.Option("-o", "--output", help="How to print it.")]
AllowResetOption = Annotated[
    bool,
    typer.Option(
        "--allow-reset",
        help="Reset a GPU where its MIG mode changes no other way: ends what runs on it.",
    ),
]
# As grep and diff answer: it was looked at, and is not so.
DIFFERENT = 1


def plan(
    file: FileOption = None,
    layout: LayoutOption = None,
    gpu: GpuOption = None,
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
    kubelet_dir: KubeletOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Print what `plumbline mig apply` would do, and what stands in its way. Changes nothing.

    Exit codes: 0 it can be done or is so already, 2 bad input or a layout that the GPUs cannot
    have, 3 no NVIDIA driver, 4 work in use is in the way.

    Example: plumbline mig plan -c all-balanced --machine /tmp/dgx
    """
    with opened(machine, driver_root) as session:
        found = look(file, layout, gpu)
        held = held_on(session.machine, kubelet_dir, simulated=machine is not None)
        outcomes = found.plan(held)
    answer = _print(found, outcomes, output)
    if output is Format.TABLE and answer.steps:
        typer.echo(f"{answer.steps} steps; `plumbline mig apply` executes them")
    _refuse(outcomes, found.readings)


def apply(
    file: FileOption = None,
    layout: LayoutOption = None,
    gpu: GpuOption = None,
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
    kubelet_dir: KubeletOption = None,
    allow_reset: AllowResetOption = False,  # noqa: FBT002 - typer reads it as a flag
    output: OutputOption = Format.TABLE,
) -> None:
    """Divide the GPUs as a layout says: all that it selects, or none.

    Nothing that a pod or a process holds is touched; where that is in the way nothing is changed.
    A step that fails is undone with all before it. On a node where the agent runs, setting the
    label nvidia.com/mig.config is the better way: the agent empties the GPUs first.

    Exit codes: 0 done or so already, 2 bad input or a layout that the GPUs cannot have, 3 no
    NVIDIA driver, 4 work in use is in the way, 5 failed and put back, 6 failed and not put back.

    Example: plumbline mig apply -c all-balanced --machine /tmp/dgx
    """
    # Imported here: the other commands change nothing.
    from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415
    from agent.partition.change import change, journal_folder  # noqa: PLC0415
    from agent.partition.nodes import make_nodes  # noqa: PLC0415
    from agent.partition.reset import resetting  # noqa: PLC0415

    with opened(machine, driver_root) as session:
        found = look(file, layout, gpu)
        names = {each.uuid: f"GPU {each.index}" for each in found.readings}
        done = change(
            found.goal,
            folder=journal_folder(session.machine),
            held=lambda: held_on(session.machine, kubelet_dir, simulated=machine is not None),
            reset=resetting(session) if allow_reset or found.allow_reset else None,
            progress=lambda step, *, number, of: _tell(step, names, number, of),
        )
        make_nodes(session.machine, read_mig_gpus())
    answer = _print(found, done, output)
    if output is Format.TABLE:
        typer.echo(f"{answer.steps} steps done" if answer.steps else "nothing was to be done")


def assert_(
    file: FileOption = None,
    layout: LayoutOption = None,
    gpu: GpuOption = None,
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Say whether the GPUs are divided as a layout says. Changes nothing.

    Exit codes: 0 they are, 1 they are not, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline mig assert -c all-balanced --machine /tmp/dgx
    """
    from agent.planning.mig_outcome import Blocked  # noqa: PLC0415

    with opened(machine, driver_root):
        found = look(file, layout, gpu)
        outcomes = found.plan({})
    _print(found, outcomes, output)
    _refuse([each for each in outcomes if not isinstance(each, Blocked)], found.readings)
    if outcomes:
        raise typer.Exit(DIFFERENT)


def _print(found: Looked, outcomes: Sequence[MigOutcome], output: Format) -> PlanAnswer:
    from agent.cli.mig_answers import lines, plan_answer  # noqa: PLC0415

    answer = plan_answer(found.name, found.readings, found.goal, outcomes)
    if output is Format.TABLE:
        for line in lines(answer):
            typer.echo(line)
    else:
        render.write(answer, output)
    return answer


def _refuse(outcomes: Sequence[MigOutcome], readings: Sequence[MigReading]) -> None:
    """End with the exit code that `apply` would end with; what is wrong is printed already."""
    from agent.partition.goal import feasible  # noqa: PLC0415

    try:
        feasible(outcomes, readings, may_reset=True)
    except (ConfigError, BusyError) as error:
        raise typer.Exit(error.exit_code) from error


def _tell(step: MigStep, names: dict[str, str], number: int, of: int) -> None:
    text = step.text.replace(step.gpu, names[step.gpu], 1)
    typer.echo(f"[{number}/{of}] {text}", err=True)
