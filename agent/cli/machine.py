"""`plumbline machine`: make simulated machines, look at them, break them and mend them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli import render
from agent.cli.render import Format
from agent.simulation import machines
from agent.simulation.machines import MachineState

app = typer.Typer(
    name="machine",
    help="Make simulated machines, look at them, break them and mend them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of a simulated machine.")
]
GpuArgument = Annotated[
    str, typer.Argument(metavar="GPU", help="A GPU of it, by index or by UUID.")
]
OutputOption = Annotated[Format, typer.Option("-o", "--output", help="How to print it.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace DIR where it is a simulated machine already.")
]


@app.command(name="list")
def list_profiles(output: OutputOption = Format.TABLE) -> None:
    """List the profiles.

    Example: plumbline machine list
    """
    profiles = machines.profiles()
    if output is not Format.TABLE:
        render.write(profiles, output)
        return
    width = max(len(profile.name) for profile in profiles)
    for profile in profiles:
        typer.echo(f"{profile.name:<{width}}  {profile.summary}")


@app.command()
def create(
    profile: Annotated[
        str, typer.Argument(metavar="PROFILE", help="A profile's name, or the path of a file.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    seed: Annotated[
        str | None,
        typer.Option(
            "--seed",
            metavar="TEXT",
            help="Makes UUIDs and serial numbers of its own; without it, machines of one profile"
            " are twins.",
        ),
    ] = None,
    force: ForceOption = False,  # noqa: FBT002 - typer's way to a flag
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a simulated machine from a profile.

    Exit codes: 0 done, 1 it cannot be written, 2 bad input; then nothing was made.

    Example: plumbline machine create dgx-h100 /tmp/dgx --seed node-7
    """
    machines.create(profile, folder, seed=seed, force=force)
    _print_state(machines.look(folder), output)


@app.command(name="import")
def import_capture(
    source: Annotated[
        str, typer.Argument(metavar="TOPO.txt", help="The captured text; - for standard input.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            metavar="MODEL",
            help="What the GPUs are, for example b200; guessed from their NVLinks when left out.",
        ),
    ] = None,
    force: ForceOption = False,  # noqa: FBT002 - typer's way to a flag
    output: OutputOption = Format.TABLE,
) -> None:
    """Make one from a captured `nvidia-smi topo -m`.

    The text may be as people paste it: prompts, colours, swallowed tabs. The machine gives every
    captured class back; notes on standard error say what was guessed and what contradicts itself.

    Exit codes: 0 done, 1 it cannot be written, 2 bad input; then nothing was made.

    Example: nvidia-smi topo -m | plumbline machine import - /tmp/mine --gpu b200
    """
    for note in machines.import_capture(source, folder, model=gpu, force=force):
        typer.echo(f"note: {note}", err=True)
    _print_state(machines.look(folder), output)


@app.command()
def show(folder: FolderArgument, output: OutputOption = Format.TABLE) -> None:
    """Show what a simulated machine is now.

    Example: plumbline machine show /tmp/dgx -o json
    """
    _print_state(machines.look(folder), output)


@app.command()
def xid(
    folder: FolderArgument,
    gpu: GpuArgument,
    code: Annotated[int, typer.Argument(metavar="CODE", min=1, help="The Xid error's number.")],
    instance: Annotated[
        tuple[int, int] | None,
        typer.Option(
            "--instance",
            metavar="GI CI",
            help="The GPU instance and the compute instance it is on; the whole GPU when left out.",
        ),
    ] = None,
) -> None:
    """Make the driver report an Xid error on a GPU, or on one of its MIG instances.

    Example: plumbline machine xid /tmp/dgx 3 48
    """
    machines.inject_xid(folder, gpu, code, instance=instance)


@app.command()
def lose(
    folder: FolderArgument,
    gpu: GpuArgument,
    silently: Annotated[  # noqa: FBT002 - typer's way to a flag
        bool, typer.Option("--silently", help="Without the Xid 79 that tells of it.")
    ] = False,
) -> None:
    """Let a GPU fall off the bus.

    Every call on it fails until it is restored.

    Example: plumbline machine lose /tmp/dgx 3
    """
    machines.lose(folder, gpu, silently=silently)


@app.command()
def restore(folder: FolderArgument, gpu: GpuArgument) -> None:
    """Bring a lost GPU back, under the same UUID.

    Example: plumbline machine restore /tmp/dgx 3
    """
    machines.restore(folder, gpu)


PidArgument = Annotated[int, typer.Argument(metavar="PID", min=1, help="The process's number.")]


@app.command()
def occupy(
    folder: FolderArgument,
    gpu: GpuArgument,
    pid: PidArgument,
    memory_mib: Annotated[
        int, typer.Option("--memory-mib", min=0, help="Memory that the process takes.")
    ] = 0,
    instance: Annotated[
        tuple[int, int] | None,
        typer.Option(
            "--instance",
            metavar="GI CI",
            help="The GPU instance and the compute instance it works on; needed in MIG mode.",
        ),
    ] = None,
) -> None:
    """Let a process work on a GPU.

    What is in use cannot be destroyed or reset.

    Example: plumbline machine occupy /tmp/dgx 3 4711 --instance 2 0
    """
    machines.occupy(folder, gpu, pid, memory_mib=memory_mib, instance=instance)


@app.command()
def release(folder: FolderArgument, gpu: GpuArgument, pid: PidArgument) -> None:
    """End a process on a GPU.

    Example: plumbline machine release /tmp/dgx 3 4711
    """
    machines.release(folder, gpu, pid)


@app.command()
def reset(folder: FolderArgument, gpu: GpuArgument) -> None:
    """Reset a GPU, as `nvidia-smi --gpu-reset` does.

    Pending modes become current, MIG instances are gone. Refused while a process works on it.

    Example: plumbline machine reset /tmp/dgx 3
    """
    machines.reset(folder, gpu)


@app.command(name="set")
def set_fields(
    folder: FolderArgument,
    gpu: GpuArgument,
    fields: Annotated[
        list[str],
        typer.Argument(metavar="FIELD=VALUE...", help="Fields of docs/simulated-machine.md."),
    ],
) -> None:
    """Change what the driver tells of a GPU.

    A link's state is nvlink.<link>.state. Fields are set in order; at the first that the driver
    refuses the command stops.

    Example: plumbline machine set /tmp/dgx 0 temperature_gpu_c=88 nvlink.3.state=down
    """
    machines.change(folder, gpu, machines.parse_fields(fields))


def _print_state(state: MachineState, output: Format) -> None:
    if output is not Format.TABLE:
        render.write(state, output)
        return
    typer.echo(f"{state.folder}: {state.profile}, driver {state.driver_version}")
    typer.echo(state.summary)
    for gpu in state.gpus:
        links = f", {gpu.links_up}/{gpu.links} NVLinks up" if gpu.links else ""
        lost = ", LOST" if gpu.lost else ""
        typer.echo(f"  GPU {gpu.index}  {gpu.address}  {gpu.uuid}  {gpu.name}{links}{lost}")
    if state.nics:
        typer.echo(f"  NICs  {' '.join(state.nics)}")
