"""`plumbline slices` and `plumbline claims`: what DRA is told of this node, and what it gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from agent.cli import render
from agent.cli.inspect import DriverRootOption, MachineOption, look
from agent.cli.render import Format
from agent.cli.running_agent import SocketOption, ask, socket_of

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

    Exit codes: 0 done, 2 bad input, 3 no NVIDIA driver.

    Example: plumbline slices --machine /tmp/dgx
    """
    # Imported here: the other commands need no engine.
    from agent.config.schema import Config  # noqa: PLC0415
    from agent.ledger.ledger import Ledger  # noqa: PLC0415
    from agent.planning.dra_devices import DRIVER  # noqa: PLC0415
    from agent.planning.dra_nics import NIC_DRIVER, NicPool  # noqa: PLC0415
    from agent.planning.health import Health  # noqa: PLC0415
    from agent.planning.pool import pool_offering  # noqa: PLC0415
    from agent.planning.slices import Pool, plan_slices  # noqa: PLC0415
    from agent.planning.snapshot import build_snapshot  # noqa: PLC0415

    seen = build_snapshot(Config(), look(machine, driver_root), Health(), previous=None)
    pool = Pool(driver=DRIVER, node=node_name, node_uid="")
    documents = plan_slices(pool_offering(seen, Ledger(), {}), pool, "NoSchedule")
    nic_documents = []
    if nics:
        pool = Pool(driver=NIC_DRIVER, node=node_name, node_uid="")
        nic_documents = plan_slices(NicPool(snapshot=seen).offering, pool, "NoSchedule")
    if output is Format.TABLE:
        _print_devices(documents)
        if nics:
            _print_nics(nic_documents)
        return
    documents += nic_documents
    if output is Format.JSON:
        render.write(documents, output)
    else:
        import yaml  # noqa: PLC0415 - only this format needs it

        typer.echo(yaml.safe_dump_all(documents, sort_keys=False), nl=False)


def claims(
    machine: MachineOption = None,
    socket: SocketOption = None,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
) -> None:
    """Show which claims are prepared on this node, and which devices they have.

    Asks the agent that runs on this node under plumbline.mode dra.

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
    table = _table("claim", "state", "driver", "request", "device", "uid")
    for claim in found:
        for device in claim["devices"]:
            admin = " (admin)" if device["admin"] else ""
            name = f"{claim['namespace']}/{claim['name']}"
            device_name = device["device"] + admin
            table.add_row(
                name,
                claim["state"],
                claim["driver"],
                device["request"],
                device_name,
                claim["uid"],
            )
    _print(table)


def _print_devices(documents: list[dict[str, Any]]) -> None:
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


def _print_nics(documents: list[dict[str, Any]]) -> None:
    names = ("rdmaDevice", "linkLayer", "rateGbps", "state", "numaNode", _PCIE_ROOT, "rail")
    table = _table("device", *(name.rpartition("/")[2] for name in names))
    for each in _devices(documents):
        table.add_row(each["name"], *(_fact(each, name) for name in names))
    _print(table)


def _devices(documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (device for one in documents for device in one["spec"]["devices"])


def _fact(device: dict[str, Any], name: str) -> str:
    return str(*device["attributes"].get(name, {"": "-"}).values())


def _print(table: Table) -> None:
    Console(width=None if Console().is_terminal else _WIDTH, highlight=False).print(table)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table
