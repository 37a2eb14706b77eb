"""What the MIG commands work on: a layout, the GPUs, and who holds what of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from agent.model.errors import ConfigError
from agent.model.machine import Machine

if TYPE_CHECKING:
    from agent.config.layouts import Layout
    from agent.discovery.library import Session
    from agent.discovery.mig_gpus import MigReading
    from agent.partition.goal import Goal
    from agent.planning.mig_holders import Held
    from agent.planning.mig_outcome import MigOutcome

FileOption = Annotated[
    Path | None,
    typer.Option(
        "-f",
        "--config-file",
        metavar="FILE",
        envvar=["MIG_PARTED_CONFIG_FILE", "CONFIG_FILE"],
        help="Layouts: a file of mig-parted, or the agent's configuration. Without one, those"
        " that `plumbline mig layouts` makes from the hardware.",
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--selected-config",
        metavar="NAME",
        envvar="MIG_PARTED_SELECTED_CONFIG",
        help="Which of the layouts.",
    ),
]
GpuOption = Annotated[
    str | None,
    typer.Option("--gpu", metavar="GPU,...", help="Only these: indices or UUIDs."),
]
KubeletOption = Annotated[
    Path | None,
    typer.Option(
        "--kubelet-dir",
        metavar="DIR",
        help="Whose pods hold GPUs; /var/lib/kubelet/device-plugins of the live node.",
    ),
]


class Looked(Struct, frozen=True, kw_only=True):
    """A layout on the GPUs of a node."""

    name: str
    readings: Sequence[MigReading]
    goal: Goal
    allow_reset: bool

    def plan(self, held: Held) -> tuple[MigOutcome, ...]:
        """Return what is to be done to each GPU that is not so already."""
        from agent.partition.goal import plan  # noqa: PLC0415

        return plan(self.readings, self.goal, held)


@contextmanager
def opened(machine: Path | None, driver_root: Path) -> Iterator[Session]:
    """Open the driver of a machine. Raises ConfigError, NoDriverError."""
    # Imported here: `plumbline --help` needs no driver bindings.
    from agent.discovery.library import Session, simulated_machine  # noqa: PLC0415

    node = Machine.live(driver_root) if machine is None else simulated_machine(machine)
    with Session(node) as session:
        yield session


def look(file: Path | None, name: str | None, gpu: str | None) -> Looked:
    """Return the named layout on the GPUs of the opened driver.

    Raises ConfigError, HardwareError.
    """
    from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415
    from agent.partition.goal import goal_of  # noqa: PLC0415

    readings = read_mig_gpus()
    layout, allow_reset = chosen_layout(readings, file, name)
    only = chosen(readings, gpu)
    goal = {uuid: want for uuid, want in goal_of(layout, readings).items() if uuid in only}
    return Looked(name=layout.name, readings=readings, goal=goal, allow_reset=allow_reset)


def chosen_layout(
    readings: Sequence[MigReading], file: Path | None, name: str | None
) -> tuple[Layout, bool]:
    """Return a layout by name, and whether its file allows resets. Raises ConfigError."""
    from agent.config.layout_sources import GENERATED, layouts_in  # noqa: PLC0415
    from agent.config.problems import Problem  # noqa: PLC0415
    from agent.planning.layout import choose_layout  # noqa: PLC0415

    mig = None
    if file is None:
        layouts = made_layouts(readings)
    else:
        layouts, mig = layouts_in(file)
    wanted = name if name is not None or mig is None else mig.layout
    where = GENERATED if file is None else str(file)
    found = choose_layout(layouts, wanted, where=where, path="-c")
    if isinstance(found, Problem):
        raise ConfigError(str(found))
    return found, mig is not None and mig.allow_reset


def made_layouts(readings: Sequence[MigReading]) -> dict[str, Layout]:
    """Return the layouts that are made from the hardware."""
    from agent.config.layout_sources import generated_layouts  # noqa: PLC0415
    from agent.partition.goal import divisible  # noqa: PLC0415
    from agent.planning.layout_generation import (  # noqa: PLC0415
        generate_layouts,
        layout_document,
    )

    made = generate_layouts([divisible(each) for each in readings])
    if not made:
        raise ConfigError("no GPU of this node can do MIG")
    return generated_layouts(layout_document(made))


def chosen(readings: Sequence[MigReading], names: str | None) -> set[str]:
    """Return the UUIDs of named GPUs; of all when none is named. Raises ConfigError."""
    by_name = {str(each.index): each.uuid for each in readings}
    by_name |= {each.uuid: each.uuid for each in readings}
    if names is None:
        return set(by_name.values())
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in by_name:
            known = ", ".join(f"{each.index} ({each.uuid})" for each in readings)
            raise ConfigError(f"--gpu: there is no GPU '{name}'; there are: {known or 'none'}")
    return {by_name[name] for name in wanted}
