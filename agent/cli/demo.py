"""`plumbline demo`: the main job on a simulated machine, for a person to watch."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agent.cli import demo_tables
from agent.cli.inspect import look
from agent.model.inventory import Inventory
from agent.planning.strategy import GPU_RESOURCE
from deviceplugin.standin.admission import TopologyRules
from deviceplugin.standin.kubelet import Kubelet
from deviceplugin.standin.numa import Numa, Policy
from deviceplugin.standin.pods import AdmissionFailed, Container, Pod

# A node fills up until one GPU is left, which is not enough for the last.
PODS = (("trainer", 2), ("notebook", 1), ("all-reduce", 4), ("latecomer", 2))

START_LIMIT_S = 20.0
FOREVER_S = 1e9


def demo(
    profile: Annotated[str, typer.Argument(help="Which machine to simulate.")] = "dgx-h100",
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
) -> None:
    """Hand a simulated machine's GPUs to pods, and show what happened.

    Makes the machine, starts the real daemon on it and a kubelet stand-in beside it, admits
    pods, shows where each one landed, and cleans up. Takes a few seconds.

    Example: plumbline demo dgx-a100 --keep
    """
    with _scratch_folder() as folder:
        asyncio.run(_demo(profile, folder, keep=keep))


@contextlib.contextmanager
def _scratch_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="plumbline-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _demo(profile: str, folder: Path, *, keep: bool) -> None:
    from agent.simulation import machines  # noqa: PLC0415 - only when the demo runs

    console = Console(highlight=False, width=None if Console().is_terminal else 110)
    machine = folder / "machine"
    machines.create(profile, machine)
    inventory = look(machine)
    _heading(console, 1, f"A simulated {profile}: what `plumbline topo` sees")
    console.print(demo_tables.topology_lines(inventory), soft_wrap=True)

    kubelet = Kubelet(
        folder / "kubelet",
        rules=TopologyRules(numa=_numa(inventory), policy=Policy.BEST_EFFORT),
    )
    async with kubelet, _daemon(machine, kubelet, folder / "daemon.log") as (process, began):
        devices = await _ready(kubelet, process, folder / "daemon.log")
        _heading(console, 2, "The daemon serves the kubelet")
        console.print(
            f"{GPU_RESOURCE}: {len(devices)} devices,"
            f" {sum(d.healthy for d in devices.values())} healthy,"
            f" registered {time.perf_counter() - began:.2f} s after `plumbline run`"
        )
        _heading(console, 3, "Pods ask for GPUs")
        held = await _admit_pods(console, kubelet, inventory)
        _heading(console, 4, "What stays free")
        console.print(demo_tables.free_lines(inventory, held))
        if keep:
            await _stay(console, folder, kubelet, process)
    console.print("\nStopped: the daemon ended its stream, removed its socket and exited 0.")


def _heading(console: Console, number: int, text: str) -> None:
    console.print(f"\n[bold]{number}. {text}[/bold]\n")


def _numa(inventory: Inventory) -> Numa:
    with_cpus = tuple(node for node in inventory.numa_nodes if node.cpus)
    return Numa(
        nodes=tuple(node.id for node in with_cpus) or (0,),
        distances={
            (node.id, other): distance
            for node in with_cpus
            for other, distance in node.distances.items()
        },
    )


@contextlib.asynccontextmanager
async def _daemon(
    machine: Path, kubelet: Kubelet, log: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, float]]:
    """Run the daemon beside us; yield it with the moment of its start."""
    began = time.perf_counter()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent.cli.main",
            "run",
            "--machine",
            str(machine),
            "--kubelet-dir",
            str(kubelet.directory),
            stderr=output,
            # Ctrl-C is for the demo, which then stops the daemon in order.
            start_new_session=True,
        )
    try:
        yield process, began
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        _check(await process.wait(), log)


def _check(code: int, log: Path) -> None:
    """End the demo with the daemon's own words when the daemon failed."""
    if code:
        sys.stderr.write(log.read_text())
        raise typer.Exit(code)


async def _ready(
    kubelet: Kubelet, process: asyncio.subprocess.Process, log: Path
) -> dict[str, demo_tables.Device]:
    devices = asyncio.create_task(kubelet.devices(GPU_RESOURCE, timeout_s=START_LIMIT_S))
    died = asyncio.create_task(process.wait())
    await asyncio.wait({devices, died}, return_when=asyncio.FIRST_COMPLETED)
    if not devices.done():
        devices.cancel()
        _check(process.returncode or 1, log)
    died.cancel()
    return dict(devices.result())


async def _admit_pods(
    console: Console, kubelet: Kubelet, inventory: Inventory
) -> dict[str, Sequence[str]]:
    held: dict[str, Sequence[str]] = {}
    rejected: list[tuple[str, int, str]] = []
    for name, size in PODS:
        pod = Pod(name=name, containers=(Container(name="main", requests={GPU_RESOURCE: size}),))
        try:
            allocated = await kubelet.admit(pod)
        except AdmissionFailed as failure:
            rejected.append((name, size, failure.message))
        else:
            held[name] = sorted(id_ for each in allocated for id_ in each.device_ids)
    console.print(demo_tables.pod_table(inventory, held))
    for name, size, reason in rejected:
        console.print(f"{name} asks for {size} and is rejected, as it should be: {reason}")
    return held


async def _stay(
    console: Console, folder: Path, kubelet: Kubelet, process: asyncio.subprocess.Process
) -> None:
    machine = folder / "machine"
    console.print(
        f"\nRunning until Ctrl-C. Look around from another terminal:\n\n"
        f"  plumbline topo --machine {machine}\n"
        f"  plumbline machine xid {machine} 7 79      # GPU 7 becomes Unhealthy\n"
        f"  plumbline machine lose {machine} 6        # GPU 6 falls off the bus\n"
        f"  kill -HUP {process.pid}                   # read everything again\n"
        f"  tail -f {folder / 'daemon.log'}\n",
        soft_wrap=True,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    waiting = {
        asyncio.create_task(stop.wait()),
        asyncio.create_task(process.wait()),
        asyncio.create_task(_tell_changes(console, kubelet)),
    }
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _tell_changes(console: Console, kubelet: Kubelet) -> None:
    """Print every change of the kubelet's device list."""
    known = dict(await kubelet.devices(GPU_RESOURCE))
    while True:
        differs = partial(operator.ne, known)
        known = dict(await kubelet.devices(GPU_RESOURCE, differs, timeout_s=FOREVER_S))
        unhealthy = [device.id for device in known.values() if not device.healthy]
        console.print(
            f"kubelet: {len(known)} devices, unhealthy: {', '.join(unhealthy) or 'none'}",
            soft_wrap=True,
        )
