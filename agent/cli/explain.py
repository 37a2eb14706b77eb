"""`plumbline explain`: why the running agent gave a pod the GPUs that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from agent.cli import answers, render
from agent.cli.inspect import MachineOption
from agent.cli.render import Format
from agent.cli.running_agent import SocketOption, ask, socket_of
from agent.model.errors import ConfigError

LAST = "last"

_QUALITY = {
    "best": "no better set was free on the node",
    "offer": "the best of what the kubelet offered; it left better ones out",
    "kubelet": "the kubelet chose them itself",
    "divided": "shares of these GPUs",
}


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[POD]",
            help="NAMESPACE/NAME or NAME of a pod; `last` for the last decision, whosever.",
        ),
    ] = LAST,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", metavar="N", min=1, help="The last N; 1 for `last`."),
    ] = None,
    machine: MachineOption = None,
    socket: SocketOption = None,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to print it.")
    ] = Format.TABLE,
) -> None:
    """Say why a pod has the GPUs it has; the agent remembers its last 1,000 decisions.

    Exit codes: 0 done, 1 no agent answers, 2 bad input or nothing is known of the pod.

    Example: plumbline explain default/trainer
    """
    question = (
        {"last": count or 1}
        if what == LAST
        else {"pod": what, **({} if count is None else {"last": count})}
    )
    found = ask(socket_of(machine, socket), ask="decisions", **question)
    if not found:
        raise ConfigError(_nothing(what))
    if output is Format.TABLE:
        typer.echo("\n\n".join("\n".join(_lines(decision)) for decision in found))
    else:
        render.write(found, output)


def _nothing(what: str) -> str:
    if what == LAST:
        return "the agent has decided nothing since it started"
    return (
        f"nothing is known of pod '{what}': its GPUs were given before the agent started, more"
        " than 1,000 decisions ago, or under another name (kubectl get pods -A)"
    )


def _lines(decision: Mapping[str, Any]) -> Iterator[str]:
    moment = datetime.fromtimestamp(decision["at_s"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    whose = decision["pod"] or (
        "a pod that the kubelet has not named" if decision["allocated"] else "a pod"
    )
    yield f"decision {decision['number']}, {moment}: {decision['resource']} for {whose}"
    yield _question(decision)
    yield from answers.lines(decision["answer"])
    yield from map(_instance, decision["instances"])
    if not decision["allocated"]:
        yield "not allocated: the pod was rejected, or the kubelet is still at it"
        return
    yield f"{decision['quality']}: {_QUALITY[decision['quality']]}"
    yield from _nics(decision["nics"])
    if decision["preferred"] is not None:
        yield f"preferred were GPUs {answers.numbers(decision['preferred']['gpus'])}"
    if decision["better"] is not None:
        yield "better on the node:"
        yield from (f"  {line}" for line in answers.lines(decision["better"]))


def _instance(instance: Mapping[str, Any]) -> str:
    first, size = instance["start"], instance["size"]
    slices = f"slice {first}" if size == 1 else f"slices {first} to {first + size - 1}"
    return (
        f"{instance['uuid']}: {instance['profile']} of GPU {instance['gpu']}, {slices}"
        f" (GPU instance {instance['gpu_instance']}, compute instance"
        f" {instance['compute_instance']})"
    )


def _nics(nics: Mapping[str, Any] | None) -> Iterator[str]:
    if nics is None:
        return
    for rail in nics["given"]:
        others = rail["shared_with"]
        shared = f", shared with {others} other container{'s'[: others != 1]}" if others else ""
        yield f"given {rail['nic']} for GPU{rail['gpu']} ({rail['distance']}{shared})"
    for each in nics["missing"]:
        yield f"no NIC for GPU{each['gpu']}: {each['reason']}"


def _question(decision: Mapping[str, Any]) -> str:
    size, offered = decision["size"], decision["offered"]
    asked = (
        f"{size} of {offered} that the kubelet offered"
        if offered
        else f"{size}, which the kubelet took without asking"
    )
    if decision["must"]:
        asked += f", {len(decision['must'])} of them given beforehand"
    return f"{asked}; free were GPUs {answers.numbers(decision['free'])}; {decision['policy']}"
