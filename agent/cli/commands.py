"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from agent import VERSION
from agent.cli import dra, inspect, machine, mig, sharing
from agent.cli.demo import demo
from agent.cli.explain import explain
from agent.cli.fit import fit
from agent.cli.place import place

app = typer.Typer(
    name="plumbline",
    help="One agent per GPU node: topology-aligned GPUs for the kubelet.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(inspect.inventory)
app.command()(inspect.topo)
app.command()(place)
app.command()(explain)
app.command()(fit)
app.command()(dra.slices)
app.command()(dra.claims)
app.add_typer(mig.app, name="mig")
app.add_typer(sharing.app, name="sharing")
app.add_typer(machine.app, name="machine")
app.command()(demo)


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def run(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
    """Serve this node's GPUs to the kubelet (`plumbline run --help`)."""
    # Only the listing comes here: main() starts the daemon before typer is imported.
    from agent.daemon.run import run as start  # noqa: PLC0415

    raise typer.Exit(start(arguments or []))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)
