"""`plumbline mig`: how this node's GPUs are divided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct
from msgspec.structs import replace
from rich import box
from rich.console import Console
from rich.table import Table

from agent.cli import mig_change, mig_layouts, render
from agent.cli.inspect import DriverRootOption, MachineOption
from agent.cli.render import Format
from agent.cli.running_agent import SocketOption, ask, socket_of
from agent.model.errors import ConfigError
from agent.model.inventory import Gpu, Inventory
from agent.model.machine import Machine
from agent.model.mig import MigProcess, mig_profile_name

app = typer.Typer(
    help="How this node's GPUs are divided into MIG instances.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command(name="plan")(mig_change.plan)
app.command(name="apply")(mig_change.apply)
app.command(name="assert")(mig_change.assert_)
app.command(name="export")(mig_layouts.export)
app.command(name="layouts")(mig_layouts.layouts)

Processes = dict[str, tuple[MigProcess, ...]]


class InstanceStatus(Struct, frozen=True, kw_only=True):
    """One MigInstance, or a GPU instance that has no compute instance yet."""

    gpu_instance: int
    compute_instance: int | None
    profile: str
    """``3g.20gb``; ``1c.3g.20gb`` for a part of the GPU instance."""
    start: int
    """First memory slice of the GPU instance."""
    size: int
    """How many memory slices it takes."""
    memory_mib: int
    uuid: str | None
    pids: tuple[int, ...]
    """Processes at work on it."""
    resource: str | None = None
    """What the running agent offers it as, with ``--live``."""
    unhealthy: str | None = None
    """Why it must not be handed out, with ``--live``."""
    holder: str | None = None
    """The pod that was given it, with ``--live``."""


class GpuStatus(Struct, frozen=True, kw_only=True):
    """How one GPU is divided."""

    index: int
    uuid: str
    name: str
    mode: str
    """``on``, ``off``, or ``none`` for a GPU that cannot do MIG."""
    pending: str
    """The mode after the next reset of the GPU."""
    offers: tuple[str, ...]
    """Profiles of GPU instances; known while the mode is on."""
    instances: tuple[InstanceStatus, ...]
    pids: tuple[int, ...]
    """Processes at work on the whole GPU."""
    left_out: str | None = None
    """Why the running agent offers nothing of it, with ``--live``."""


@app.command()
def status(
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="GPU", help="Only this one: index or UUID.")
    ] = None,
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
    live: Annotated[  # noqa: FBT002 - typer reads it as a flag
        bool,
        typer.Option("--live", help="Ask the running agent for pods, and for what it leaves out."),
    ] = False,
    socket: SocketOption = None,
) -> None:
    """Print the MIG mode of every GPU, its instances, and the processes at work on them.

    Exit codes: 0 done, 1 no agent answers --live, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline mig status --machine /tmp/dgx
    """
    found, processes = _look(machine, driver_root)
    shown = [gpu_status(each, processes.get(each.uuid, ())) for each in _chosen(found, gpu)]
    if live:
        now = ask(socket_of(machine, socket), ask="node")
        shown = [_as_offered(each, now) for each in shown]
    if output is Format.TABLE:
        _print(shown, found)
    else:
        render.write(shown, output)


def gpu_status(gpu: Gpu, processes: tuple[MigProcess, ...]) -> GpuStatus:
    """Return how a GPU is divided."""
    words = {True: "on", False: "off"}
    return GpuStatus(
        index=gpu.index,
        uuid=gpu.uuid,
        name=gpu.name,
        mode=words[gpu.mig.current] if gpu.mig else "none",
        pending=words[gpu.mig.pending] if gpu.mig else "none",
        offers=tuple(each.name for each in gpu.partition.profiles) if gpu.partition else (),
        instances=tuple(_instances(gpu, processes)),
        pids=tuple(each.pid for each in processes if each.gpu_instance is None),
    )


def _as_offered(gpu: GpuStatus, now: Mapping[str, Any]) -> GpuStatus:
    """Return a status with what the running agent says of its node."""
    devices = {
        device["id"]: {
            "resource": resource,
            "unhealthy": device["unhealthy"],
            "holder": device["holder"],
        }
        for resource, listed in now["resources"].items()
        for device in listed
    }
    reasons = {each["gpu"]: each["reason"] for each in now["left_out"]}
    return replace(
        gpu,
        left_out=reasons.get(gpu.uuid),
        instances=tuple(replace(i, **devices.get(i.uuid or "", {})) for i in gpu.instances),
    )


def _instances(gpu: Gpu, processes: tuple[MigProcess, ...]) -> list[InstanceStatus]:
    found = []
    for instance in gpu.partition.instances if gpu.partition else ():
        assert gpu.partition is not None  # noqa: S101 - it has instances
        profile = gpu.partition.profile_of(instance)
        for compute in instance.compute or (None,):
            at_work = (
                each.pid
                for each in processes
                if each.gpu_instance == instance.id
                and (compute is None or each.compute_instance == compute.id)
            )
            found.append(
                InstanceStatus(
                    gpu_instance=instance.id,
                    compute_instance=compute.id if compute else None,
                    profile=mig_profile_name(profile, compute) if compute else profile.name,
                    start=instance.placement.start,
                    size=instance.placement.size,
                    memory_mib=profile.memory_mib,
                    uuid=compute.uuid if compute else None,
                    pids=tuple(at_work),
                )
            )
    return sorted(found, key=lambda each: (each.start, each.compute_instance or 0))


def _look(machine: Path | None, driver_root: Path) -> tuple[Inventory, Processes]:
    # Imported here: `plumbline --help` needs no driver bindings.
    from agent.discovery.inventory import observe  # noqa: PLC0415
    from agent.discovery.library import Session, simulated_machine  # noqa: PLC0415
    from agent.discovery.mig import processes_by_gpu  # noqa: PLC0415

    node = Machine.live(driver_root) if machine is None else simulated_machine(machine)
    with Session(node) as session:
        return observe(session, overrides={}), processes_by_gpu()


def _chosen(found: Inventory, name: str | None) -> list[Gpu]:
    chosen = [each for each in found.gpus if name in {None, str(each.index), each.uuid}]
    if name is not None and not chosen:
        known = ", ".join(f"{each.index} ({each.uuid})" for each in found.gpus)
        raise ConfigError(f"--gpu: there is no GPU '{name}'; there are: {known or 'none'}")
    return chosen


def _print(shown: list[GpuStatus], found: Inventory) -> None:
    console = Console(width=None if Console().is_terminal else 160)
    table = Table(
        *("GPU", "MIG", "GI", "CI", "profile", "slices", "memory", "device", "processes"),
        box=box.SIMPLE,
    )
    for gpu in shown:
        change = "" if gpu.pending == gpu.mode else f" ({gpu.pending} after a reset)"
        mode = "cannot" if gpu.mode == "none" else gpu.mode + change
        if not gpu.instances:
            row = ("-", "-", "-", "-", "-", "-", ", ".join(map(str, gpu.pids)) or "-")
            table.add_row(str(gpu.index), mode, *row)
        for first, each in zip((True, *[False] * len(gpu.instances)), gpu.instances, strict=False):
            table.add_row(
                str(gpu.index) if first else "",
                mode if first else "",
                str(each.gpu_instance),
                "-" if each.compute_instance is None else str(each.compute_instance),
                each.profile,
                f"{each.start}-{each.start + each.size - 1}",
                f"{each.memory_mib / 1024:.1f} GiB",
                each.uuid or "-",
                ", ".join(map(str, each.pids)) or "-",
            )
    console.print(table)
    for line in _as_offered_in_words(shown):
        console.print(line)
    for lost in found.unavailable:
        name = lost.uuid or lost.address or ""
        console.print(f"GPU {lost.index} {name} unavailable: {lost.reason}")
    for warning in found.warnings:
        console.print(f"warning: {warning}")


def _as_offered_in_words(shown: list[GpuStatus]) -> Iterator[str]:
    for gpu in shown:
        if gpu.left_out is not None:
            yield f"GPU {gpu.index} is left out: {gpu.left_out}"
        for each in gpu.instances:
            if each.holder is not None:
                yield f"{each.uuid} is held as {each.resource} by {each.holder}"
            if each.unhealthy is not None:
                yield f"{each.uuid} is unhealthy: {each.unhealthy}"
