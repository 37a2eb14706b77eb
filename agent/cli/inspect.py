"""`plumbline inventory` and `plumbline topo`: what this node has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from agent.cli import render, topology
from agent.cli.render import Format
from agent.model.inventory import Gpu, Inventory, Nic
from agent.model.machine import Machine

MachineOption = Annotated[
    Path | None,
    typer.Option(
        "--machine",
        metavar="DIR",
        help="A simulated machine (plumbline machine create); the live node when left out.",
    ),
]
DriverRootOption = Annotated[
    Path,
    typer.Option(
        "--driver-root",
        metavar="DIR",
        envvar="CONTAINER_DRIVER_ROOT",
        help="Where the driver's files are mounted, when not at /.",
    ),
]


def inventory(
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
) -> None:
    """Print every GPU, NIC and NUMA node of the node, and what could not be read.

    Exit codes: 0 done, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline inventory --machine /tmp/dgx -o json
    """
    found = look(machine, driver_root)
    if output is Format.TABLE:
        _print_tables(found)
    else:
        render.write(found, output)


def topo(
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
) -> None:
    """Print how near GPUs and NICs are to each other, as `nvidia-smi topo -m` does.

    Exit codes: 0 done, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline topo --machine /tmp/dgx
    """
    found = look(machine, driver_root)
    if output is Format.TABLE:
        typer.echo(topology.matrix(found), nl=False)
        for warning in found.warnings:
            typer.echo(f"warning: {warning}", err=True)
    else:
        render.write(topology.document(found), output)


def look(machine: Path | None, driver_root: Path = Path("/")) -> Inventory:
    """Read the node, or the simulated machine in a folder, once."""
    # Imported here: `plumbline --help` needs no driver bindings.
    from agent.discovery.inventory import observe  # noqa: PLC0415
    from agent.discovery.library import Session  # noqa: PLC0415
    from agent.discovery.locality import read_overrides  # noqa: PLC0415

    node = node_at(machine, driver_root)
    with Session(node) as session:
        return observe(session, overrides=read_overrides(node.locality_file))


def node_at(machine: Path | None, driver_root: Path) -> Machine:
    """Return the node, or the simulated machine in a folder. Raises ConfigError."""
    from agent.discovery.library import simulated_machine  # noqa: PLC0415

    return Machine.live(driver_root) if machine is None else simulated_machine(machine)


def _print_tables(found: Inventory) -> None:
    console = Console(width=None if Console().is_terminal else 160)
    console.print(
        f"driver {found.driver_version}, CUDA {found.cuda_version},"
        f" {len(found.gpus)} GPUs, {len(found.nics)} NICs, {len(found.numa_nodes)} NUMA nodes"
    )
    console.print(_gpu_table(found.gpus))
    if found.nics:
        console.print(_nic_table(found.nics))
    for gpu in found.unavailable:
        console.print(f"GPU {gpu.index} {gpu.uuid or gpu.address or ''} unavailable: {gpu.reason}")
    for warning in found.warnings:
        console.print(f"warning: {warning}")


def _gpu_table(gpus: tuple[Gpu, ...]) -> Table:
    table = Table(
        "GPU", "UUID", "name", "memory", "address", "NUMA", "NVLinks", "PCIe", box=box.SIMPLE
    )
    for gpu in gpus:
        active = sum(link.active for link in gpu.links)
        table.add_row(
            str(gpu.index),
            gpu.uuid,
            gpu.name,
            f"{gpu.memory_bytes / 2**30:.1f} GiB",
            gpu.address,
            _or_dash(gpu.numa_node),
            f"{active}/{len(gpu.links)}" if gpu.links else "-",
            f"gen{_or_dash(gpu.pcie.max_generation)} x{_or_dash(gpu.pcie.max_width)}",
        )
    return table


def _nic_table(nics: tuple[Nic, ...]) -> Table:
    table = Table("NIC", "device", "address", "NUMA", "state", "rate", "layer", box=box.SIMPLE)
    for i, nic in enumerate(nics):
        port = nic.ports[0] if nic.ports else None
        table.add_row(
            f"NIC{i}",
            nic.name + (" (NVLink management)" if nic.nvlink_management else ""),
            _or_dash(nic.address),
            _or_dash(nic.numa_node),
            _or_dash(port and port.state),
            f"{port.rate_gbps:g} Gb/s" if port and port.rate_gbps is not None else "-",
            _or_dash(port and port.link_layer),
        )
    return table


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
