"""`plumbline place`: which GPUs a request would get on this node, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import render
from agent.cli.gpus import FreeOption, LiveOption, WithoutOption, look_at, split, uuid_of, uuids_of
from agent.cli.inspect import DriverRootOption, MachineOption
from agent.cli.render import Format
from agent.model.errors import ConfigError
from agent.model.inventory import Inventory

if TYPE_CHECKING:
    from agent.planning.placement import Placement, PlacementTable


class Policy(StrEnum):
    """What ``--policy`` accepts."""

    DEFAULT = "default"
    NUMA_FIRST = "numa-first"
    RDMA = "rdma"
    PACK = "pack"
    SPREAD = "spread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is printed; GPUs are NVML indices, bandwidths GB/s in one direction."""

    gpus: tuple[int, ...]
    uuids: tuple[str, ...]
    nics: tuple[str, ...]
    exact: bool
    explanation: Mapping[str, Any]


def place(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command
    size: Annotated[int, typer.Argument(metavar="K", min=1, help="How many GPUs.")],
    free: FreeOption = None,
    must: Annotated[
        list[str] | None,
        typer.Option("--must", metavar="GPU[,...]", help="What has to be among them."),
    ] = None,
    without: WithoutOption = None,
    nics: Annotated[
        int, typer.Option("--nics", metavar="M", min=0, help="How many NICs beside them.")
    ] = 0,
    policy: Annotated[Policy, typer.Option("--policy", help="What counts first.")] = Policy.DEFAULT,
    machine: MachineOption = None,
    live: LiveOption = False,  # noqa: FBT002 - typer reads it as a flag
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
    driver_root: DriverRootOption = Path("/"),
) -> None:
    """Say which GPUs a request for K would get, and why; nothing is given away.

    GPUs are named by index or UUID. Exit codes: 0 done, 2 bad input or an impossible request,
    3 no NVIDIA driver.

    Example: plumbline place 2 --nics 2 --free 0,3,5,6 --machine /tmp/dgx
    """
    answer = find(
        look_at(machine, driver_root, live=live),
        size,
        free=split(free),
        must=split(must) or (),
        without=split(without) or (),
        nics=nics,
        policy=policy,
    )
    if output is Format.TABLE:
        typer.echo(words(answer))
    else:
        render.write(answer, output)


def find(
    found: Inventory,
    size: int,
    *,
    free: Sequence[str] | None = None,
    must: Sequence[str] = (),
    without: Sequence[str] = (),
    nics: int = 0,
    policy: Policy = Policy.DEFAULT,
) -> Answer:
    """Return the best set of a node; raise ConfigError for a request that cannot be met."""
    # Imported here: the other commands need no engine.
    from agent._native import PlacementPolicy  # noqa: PLC0415
    from agent.planning.placement import PlacementTable, Request  # noqa: PLC0415

    away = uuids_of(found, without)
    gpus = [gpu for gpu in found.gpus if gpu.uuid not in away]
    offered = {gpu.uuid for gpu in gpus} if free is None else uuids_of(found, free) - away
    needed = [uuid_of(found, name) for name in must]
    _check(size, offered, needed, away)
    table = PlacementTable(found, gpus)
    request = Request(
        available=tuple(sorted(offered)),
        must_include=tuple(needed),
        size=size,
        policy=PlacementPolicy[policy.name],
        rails=nics,
    )
    return _answer(found, table, table.choose(request), nics)


def words(answer: Answer) -> str:
    """Return an answer for people."""
    why = answer.explanation
    lines = [f"GPUs {' '.join(map(str, answer.gpus))}"]
    lines += [f"NICs {' '.join(answer.nics)}"] if answer.nics else []
    if why["ring_gbps"] is not None:
        a, b = why["limiting_pair"]
        lines.append(
            f"ring {why['ring_gbps']} GB/s, slowest pair {why['min_pair_gbps']} GB/s"
            f" (GPU{a}-GPU{b}, {why['limiting_path']}), mean {why['mean_pair_gbps']:g} GB/s"
        )
    lines.append(f"NUMA nodes {_list(why['numa_nodes'])}, sockets {_list(why['sockets'])}")
    if why["runner_up"] is not None:
        lost = why["lost_at"].replace("_", " ")
        lines.append(f"next best: GPUs {' '.join(map(str, why['runner_up']))}, behind in {lost}")
    left = ", ".join(
        f"{each['count']} of {each['size']} ({each['min_pair_gbps']} GB/s)" for each in why["left"]
    )
    lines.append(f"left as good as on an empty node: {left or 'no set of two or more'}")
    if not answer.exact:
        lines.append("the search was cut short: there may be a better set")
    return "\n".join(lines)


def _check(size: int, offered: set[str], needed: Sequence[str], away: set[str]) -> None:
    if away & set(needed):
        raise ConfigError("--must names a GPU that --without takes away")
    there = len(offered | set(needed))
    if size > there:
        raise ConfigError(f"{size} GPUs are asked for and {there} are free")
    if len(set(needed)) > size:
        raise ConfigError(f"--must names {len(set(needed))} GPUs and {size} are asked for")


def _answer(found: Inventory, table: PlacementTable, given: Placement, nics: int) -> Answer:
    why = given.explanation
    index = {gpu.uuid: gpu.index for gpu in found.gpus}

    def indices(uuids: Iterable[str]) -> list[int]:
        return sorted(index[uuid] for uuid in uuids)

    if len(why.rails) < nics:
        raise ConfigError(
            f"{nics} NICs are asked for and no set of {len(given.devices)} GPUs has more than "
            f"{len(why.rails)} beside it"
        )
    uuids = tuple(sorted(given.devices, key=lambda uuid: index[uuid]))
    return Answer(
        gpus=tuple(index[uuid] for uuid in uuids),
        uuids=uuids,
        nics=table.model.rails_for(uuids, nics) if nics else why.rails,
        exact=why.exact,
        explanation={
            "ring_gbps": why.ring_gbps,
            "min_pair_gbps": why.min_pair_gbps,
            "mean_pair_gbps": why.mean_pair_gbps,
            "numa_nodes": why.numa_nodes,
            "sockets": why.sockets,
            "limiting_pair": indices(why.limiting_pair) if why.limiting_pair else None,
            "limiting_path": why.limiting_path,
            "runner_up": indices(why.runner_up) if why.runner_up else None,
            "lost_at": why.lost_at,
            "key": why.key,
            "left": [
                {
                    "size": each.size,
                    "count": each.count,
                    "min_pair_gbps": each.min_pair_gbps,
                    "gpus": indices(each.gpus),
                }
                for each in why.left
            ],
        },
    )


def _list(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers)) or "unknown"
