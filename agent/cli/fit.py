"""`plumbline fit`: which requests for GPUs this node would admit, and which it never will."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct
from msgspec.structs import replace

from agent.cli import render
from agent.cli.gpus import FreeOption, LiveOption, WithoutOption, ask_node, split, uuids_of
from agent.cli.inspect import DriverRootOption, MachineOption, look
from agent.cli.render import Format
from agent.cli.running_agent import SocketOption
from agent.model.errors import ConfigError
from agent.model.inventory import Inventory

if TYPE_CHECKING:
    from agent.planning.affinity import Stock
    from agent.planning.catalog import OfferedDevice
    from agent.planning.fit import Outcome, PolicyFit, Reach


class RequestAnswer(Struct, frozen=True, kw_only=True):
    """What becomes of a request; GPUs are NVML indices, bandwidths GB/s in one direction."""

    size: int
    verdict: str
    reason: str
    preferred: bool | None
    gpus: tuple[int, ...]
    uuids: tuple[str, ...]
    numa_nodes: tuple[int, ...]
    sockets: tuple[int, ...]
    min_pair_gbps: int | None


class PolicyAnswer(Struct, frozen=True, kw_only=True):
    """What one policy of the Topology Manager makes of the node."""

    now: Reach
    empty: Reach
    never: tuple[int, ...]
    requests: tuple[RequestAnswer, ...]


class Answer(Struct, frozen=True, kw_only=True):
    """What is printed."""

    gpus: tuple[int, ...]
    free: tuple[int, ...]
    unhealthy: tuple[int, ...]
    best_pair_gbps: int
    policies: Mapping[str, PolicyAnswer]
    notes: tuple[str, ...]


def fit(
    free: FreeOption = None,
    without: WithoutOption = None,
    machine: MachineOption = None,
    live: LiveOption = False,  # noqa: FBT002 - typer reads it as a flag
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
    driver_root: DriverRootOption = Path("/"),
    socket: SocketOption = None,
    resource: Annotated[
        str | None,
        typer.Option("--resource", metavar="NAME", help="With --live: of which resource."),
    ] = None,
) -> None:
    """Say which requests for GPUs the kubelet would admit on this node, and which it never will.

    For a pod of one container that asks for GPUs alone, under each policy of the kubelet's
    Topology Manager (--topology-manager-policy). GPUs are named by index or UUID. A pod that
    waits stays Pending until enough GPUs are free. One that is rejected fails, and its
    controller makes the next, which fails as well: where it says never, until somebody stops it.

    Exit codes: 0 done, 1 no agent answers --live, 2 bad input, 3 no NVIDIA driver.

    Example, with GPUs 0 and 4 taken: plumbline fit --free 1,2,3,5,6,7 --machine /tmp/dgx
    """
    now = ask_node(machine, socket, free=free) if live else None
    answer = find(
        look(machine, driver_root),
        free=split(free),
        without=split(without) or (),
        listed=None if now is None else _listed(now["resources"], resource),
    )
    if output is Format.TABLE:
        # Imported here: JSON needs no tables.
        from agent.cli.fit_tables import show  # noqa: PLC0415

        show(answer)
    else:
        render.write(answer, output)


def find(
    found: Inventory,
    *,
    free: Sequence[str] | None = None,
    without: Sequence[str] = (),
    listed: Sequence[Mapping[str, Any]] | None = None,
) -> Answer:
    """Return what fits a node; raise ConfigError for a GPU that it does not have.

    ``listed`` are the devices as the running agent lists them to the kubelet.
    """
    # Imported here: the other commands need no engine.
    from agent.planning import fit as planning  # noqa: PLC0415
    from agent.planning.placement import PlacementTable  # noqa: PLC0415

    away = uuids_of(found, without)
    there = replace(found, gpus=tuple(gpu for gpu in found.gpus if gpu.uuid not in away))
    stock = _stock(there, held=_held(found, free)) if listed is None else _live_stock(there, listed)
    fitting = planning.fit(stock, PlacementTable(there, there.gpus))
    index = {gpu.uuid: gpu.index for gpu in found.gpus}

    def indices(devices: Iterable[OfferedDevice]) -> tuple[int, ...]:
        return tuple(sorted(index[each.id] for each in devices))

    return Answer(
        gpus=indices(stock.devices),
        free=indices(stock.available),
        unhealthy=indices(each for each in stock.devices if not each.healthy),
        best_pair_gbps=fitting.best_pair_gbps,
        policies={policy: _policy(each, index) for policy, each in fitting.policies.items()},
        notes=(*fitting.notes, *_notes(found, indices(stock.devices))),
    )


def _held(found: Inventory, free: Sequence[str] | None) -> Collection[str]:
    """Return the GPUs that are not free: none, unless it is said which are."""
    return () if free is None else {gpu.uuid for gpu in found.gpus} - uuids_of(found, free)


def _stock(found: Inventory, *, held: Collection[str]) -> Stock:
    """Return the GPUs as an agent would list them to the kubelet that offers MIG instances."""
    from agent.config.schema import Flags, MigStrategy  # noqa: PLC0415
    from agent.planning.affinity import Stock  # noqa: PLC0415
    from agent.planning.catalog import build_catalog  # noqa: PLC0415
    from agent.planning.health import Health  # noqa: PLC0415
    from agent.planning.strategy import GPU_RESOURCE  # noqa: PLC0415

    flags = Flags(mig_strategy=MigStrategy.MIXED)
    devices = build_catalog(found, Health(), flags=flags).resources[GPU_RESOURCE]
    return Stock(
        devices=devices,
        free=frozenset(each.id for each in devices).difference(held),
        nodes=frozenset(node.id for node in found.numa_nodes),
    )


def _listed(
    resources: Mapping[str, Sequence[Mapping[str, Any]]], resource: str | None
) -> Sequence[Mapping[str, Any]]:
    """Return the devices of a resource of whole GPUs; the only one, when none is named."""
    whole = {
        name: devices
        for name, devices in resources.items()
        if all(device["id"] == device["gpu"] or device["unhealthy"] for device in devices)
    }
    wanted = next(iter(whole), None) if resource is None and len(whole) == 1 else resource
    if wanted is None or wanted not in whole:
        which = "name one with --resource" if resource is None else f"not {resource}"
        raise ConfigError(f"the agent offers {', '.join(whole) or 'no whole GPUs'}: {which}")
    return whole[wanted]


def _live_stock(found: Inventory, listed: Sequence[Mapping[str, Any]]) -> Stock:
    from agent.planning.affinity import Stock  # noqa: PLC0415
    from agent.planning.catalog import OfferedDevice  # noqa: PLC0415

    known = {gpu.uuid for gpu in found.gpus}
    here = [each for each in listed if each["gpu"] in known and each["id"] == each["gpu"]]
    return Stock(
        devices=tuple(
            OfferedDevice(
                id=device["id"],
                gpu=device["gpu"],
                reason=device["unhealthy"],
                numa_nodes=tuple(device["numa_nodes"]),
            )
            for device in here
        ),
        free=frozenset(device["id"] for device in here if not device["held"]),
        nodes=frozenset(node.id for node in found.numa_nodes),
    )


def _policy(fitting: PolicyFit, index: Mapping[str, int]) -> PolicyAnswer:
    from agent.planning.fit import Verdict  # noqa: PLC0415

    return PolicyAnswer(
        now=fitting.now,
        empty=fitting.empty,
        never=fitting.sizes(Verdict.NEVER),
        requests=tuple(_request(each, index) for each in fitting.outcomes),
    )


def _request(outcome: Outcome, index: Mapping[str, int]) -> RequestAnswer:
    given = outcome.placement
    uuids = tuple(sorted(given.devices if given else (), key=lambda uuid: index[uuid]))
    return RequestAnswer(
        size=outcome.size,
        verdict=outcome.verdict,
        reason=outcome.reason,
        preferred=outcome.preferred,
        gpus=tuple(index[uuid] for uuid in uuids),
        uuids=uuids,
        numa_nodes=given.explanation.numa_nodes if given else (),
        sockets=given.explanation.sockets if given else (),
        min_pair_gbps=given.explanation.min_pair_gbps if given else None,
    )


def _notes(found: Inventory, listed: Collection[int]) -> Iterable[str]:
    from agent.planning.strategy import in_mig_mode  # noqa: PLC0415

    for whole in found.gpus:
        if in_mig_mode(whole) and whole.index not in listed:
            yield f"GPU {whole.index} is in MIG mode and left out: it is given in instances"
    for gpu in found.unavailable:
        yield f"GPU {gpu.index} does not answer and is left out: {gpu.reason}"
