"""`plumbline sharing`: how this node's GPUs are shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from agent.cli import render
from agent.cli.inspect import MachineOption
from agent.cli.render import Format
from agent.cli.running_agent import SocketOption, ask, socket_of

app = typer.Typer(
    help="How this node's GPUs are shared: by turns, or through MPS.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def sharing() -> None:
    """How this node's GPUs are shared: by turns, or through MPS."""


@app.command()
def status(
    machine: MachineOption = None,
    socket: SocketOption = None,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
) -> None:
    """Show how each GPU is shared, who holds which replica, and what its daemon does.

    Asks the agent that runs on this node.

    Exit codes: 0 done, 1 no agent answers, 2 bad input.

    Example: plumbline sharing status -o json
    """
    found = ask(socket_of(machine, socket), ask="sharing")
    if output is Format.TABLE:
        _print(found)
    else:
        render.write(found, output)


def _print(devices: list[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("device", "model", "strategy", "offered as", "replicas", "held"):
        table.add_column(heading, no_wrap=True)
    for each in devices:
        replicas = each["replicas"]
        held = sum(one["held"] for one in replicas)
        shared = each["strategy"] != "none"
        total = sum("::" in one["id"] for one in replicas) if shared else 1
        table.add_row(
            each["device"],
            each["model"],
            each["strategy"],
            each["resource"] or "-",
            str(total) if shared else "-",
            str(held),
        )
    Console(width=None if Console().is_terminal else 160, highlight=False).print(table)
    for each in devices:
        for line in _details(each):
            typer.echo(line)


def _details(device: Mapping[str, Any]) -> Iterator[str]:
    lines = [*_daemon(device["daemon"]), *_time_slice(device), *_replicas(device["replicas"])]
    if lines:
        yield f"{device['device']} ({device['uuid']})"
        yield from (f"  {line}" for line in lines)


def _daemon(daemon: Mapping[str, Any] | None) -> Iterator[str]:
    if daemon is not None:
        process = "" if daemon["pid"] is None else f", process {daemon['pid']}"
        yield f"MPS daemon {daemon['set']}: {daemon['state']}{process}"
        yield f"  without limits of its own a client gets {_limits(daemon['default_limits'])}"


def _time_slice(device: Mapping[str, Any]) -> Iterator[str]:
    if device["time_slice"] is not None:
        fault = device["time_slice_fault"]
        force = "in force" if fault is None else f"not in force: {fault}"
        yield f"time slice {device['time_slice']}, {force}"


def _replicas(replicas: list[dict[str, Any]]) -> Iterator[str]:
    for each in replicas:
        number = each["id"].partition("::")[2]
        name = f"::{number}" if number else "as a whole"
        who = each["holder"] or ("a pod that the kubelet has not named" if each["held"] else "free")
        limits = "" if each["limits"] is None else f", {_limits(each['limits'])}"
        unhealthy = "" if each["unhealthy"] is None else f"; unhealthy: {each['unhealthy']}"
        yield f"{name} {who}{limits}{unhealthy}"


def _limits(limits: Mapping[str, Any]) -> str:
    return f"{limits['memory_mib']} MiB, {limits['threads_percent']} % of the threads"
