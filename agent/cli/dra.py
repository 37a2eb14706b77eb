"""`plumbline slices` and `plumbline claims`: what DRA is told of this node, and what it gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace
from rich import box
from rich.console import Console
from rich.table import Table

from agent.cli import render
from agent.cli.inspect import DriverRootOption, MachineOption, look, node_at
from agent.cli.render import Format
from agent.cli.running_agent import SocketOption, ask, socket_of

if TYPE_CHECKING:
    from agent.config.schema import Config

Documents = list[dict[str, Any]]

_PCIE_ROOT = "resource.kubernetes.io/pcieRoot"
# Names of devices alone have 40 letters, and are there to be copied.
_WIDTH = 160


def slices(
    machine: MachineOption = None,
    driver_root: DriverRootOption = Path("/"),
    node_name: Annotated[
        str,
        typer.Option(
            "--node-name", metavar="NAME", envvar="NODE_NAME", help="What the node is called."
        ),
    ] = "this-node",
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config-file",
            metavar="FILE",
            envvar="CONFIG_FILE",
            help="The agent's configuration, which says what is published.",
        ),
    ] = None,
    *,
    nics: Annotated[
        bool,
        typer.Option(
            "--nics",
            envvar="PLUMBLINE_DRA_NICS",
            help="Those of driver nic.plumbline.dev as well, as with plumbline.dra.nics.",
        ),
    ] = False,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.YAML,
) -> None:
    """Print the ResourceSlices that an idle node would publish under plumbline.mode dra.

    Needs no cluster and no running agent. Without a generation, which depends on what is
    published already.

    The configuration decides which GPUs (mode split), and what else they are offered as: MIG
    instances made on demand, shares, cells.

    Exit codes: 0 done, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline slices --machine /tmp/dgx
    """
    gpus, there = _would_publish(machine, driver_root, node_name, _config(config_file, nics=nics))
    if output is Format.TABLE:
        _print_devices(gpus)
        if there:
            _print_nics(there)
    elif output is Format.JSON:
        render.write(gpus + there, output)
    else:
        import yaml  # noqa: PLC0415 - only this format needs it

        typer.echo(yaml.safe_dump_all(gpus + there, sort_keys=False), nl=False)


def claims(
    machine: MachineOption = None,
    socket: SocketOption = None,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
) -> None:
    """Show which claims are prepared on this node, for which pods, and which devices they have.

    Asks the agent that runs on this node under plumbline.mode dra, which asks the kubelet for pods.

    States: completed; started, for one that is being prepared or given back, or could not be;
    unreadable, for one whose file on the disk and its copy are broken: its devices are kept.

    Exit codes: 0 done, 1 no agent answers, 2 bad input or the agent serves no claims.

    Example: plumbline claims -o json
    """
    found = ask(socket_of(machine, socket), ask="claims")
    if output is not Format.TABLE:
        render.write(found, output)
        return
    if not found:
        typer.echo("no claim is prepared")
        return
    table = _table("claim", "state", "pods", "driver", "request", "device", "uid")
    for claim in found:
        name = "?" if claim["name"] is None else f"{claim['namespace']}/{claim['name']}"
        pods = "?" if claim["pods"] is None else "\n".join(claim["pods"]) or "-"
        start = (name, claim["state"], pods, claim["driver"])
        for device in claim["devices"] or [{"request": None, "device": "?", "admin": False}]:
            admin = " (admin)" if device["admin"] else ""
            request = device["request"] or "?"
            table.add_row(*start, request, device["device"] + admin, claim["uid"])
        if "error" in claim:
            typer.echo(f"warning: {claim['error']}", err=True)
    _print(table)


def _would_publish(
    machine: Path | None, driver_root: Path, node_name: str, config: Config
) -> tuple[Documents, Documents]:
    """Return the slices of GPUs and of NICs; of these none where they are not wanted."""
    # Imported here: the other commands need no engine.
    from agent.config.own import ClaimedMig  # noqa: PLC0415
    from agent.daemon.on_demand import read_on_demand  # noqa: PLC0415
    from agent.ledger.ledger import Ledger  # noqa: PLC0415
    from agent.planning.dra_devices import DRIVER  # noqa: PLC0415
    from agent.planning.dra_doors import unselected  # noqa: PLC0415
    from agent.planning.dra_nics import NIC_DRIVER, TAINT_EFFECT, NicPool  # noqa: PLC0415
    from agent.planning.health import Health  # noqa: PLC0415
    from agent.planning.pool import GpuPool  # noqa: PLC0415
    from agent.planning.slices import Pool, plan_slices  # noqa: PLC0415
    from agent.planning.snapshot import build_snapshot  # noqa: PLC0415

    seen = build_snapshot(config, look(machine, driver_root), Health(), previous=None)
    if (unfit := unselected(config.plumbline, seen.inventory.gpus)) is not None:
        typer.echo(f"warning: plumbline.dra.gpus: {unfit}", err=True)
    dra = config.plumbline.dra
    dynamic = dra.mig is ClaimedMig.DYNAMIC
    on_demand = read_on_demand(node_at(machine, driver_root)) if dynamic else {}
    gpus = GpuPool(snapshot=seen, ledger=Ledger(), on_demand=on_demand).offering
    pools = {name: Pool(driver=name, node=node_name, node_uid="") for name in (DRIVER, NIC_DRIVER)}
    published = plan_slices(gpus, pools[DRIVER], dra.taint_effect.value)
    if not dra.nics:
        return published, []
    nics = NicPool(snapshot=seen).offering
    return published, plan_slices(nics, pools[NIC_DRIVER], TAINT_EFFECT)


def _config(file: Path | None, *, nics: bool) -> Config:
    """Return a configuration under which GPUs are given through DRA. Raises ConfigError."""
    from agent.config.flags import resolve  # noqa: PLC0415
    from agent.config.own import ServingMode  # noqa: PLC0415

    words = [] if file is None else ["--config-file", str(file)]
    config = resolve(words, {}).config
    plumbline = config.plumbline
    if plumbline.mode is ServingMode.DEVICE_PLUGIN:
        plumbline = replace(plumbline, mode=ServingMode.DRA)
    if nics:
        plumbline = replace(plumbline, dra=replace(plumbline.dra, nics=True))
    return replace(config, plumbline=plumbline)


def _print_devices(documents: Documents) -> None:
    table = _table("device", "productName", "memory", "numaNode", "pcieRoot", "nvlinkGroup", "rail")
    for each in _devices(documents):
        memory = each["capacity"]["memory"]["value"]
        table.add_row(
            each["name"],
            _fact(each, "productName"),
            memory,
            *(_fact(each, name) for name in ("numaNode", _PCIE_ROOT, "nvlinkGroup", "rail")),
        )
    _print(table)


def _print_nics(documents: Documents) -> None:
    names = ("rdmaDevice", "linkLayer", "rateGbps", "state", "numaNode", _PCIE_ROOT, "rail")
    table = _table("device", *(name.rpartition("/")[2] for name in names))
    for each in _devices(documents):
        table.add_row(each["name"], *(_fact(each, name) for name in names))
    _print(table)


def _devices(documents: Documents) -> Iterator[dict[str, Any]]:
    return (device for one in documents for device in one["spec"].get("devices", ()))


def _fact(device: dict[str, Any], name: str) -> str:
    return str(*device["attributes"].get(name, {"": "-"}).values())


def _print(table: Table) -> None:
    Console(width=None if Console().is_terminal else _WIDTH, highlight=False).print(table)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table
