"""Through which of the kubelet's doors each GPU is given. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agent.config.own import Plumbline, ServingMode
from agent.ledger.ledger import CLAIMED, Ledger
from agent.model.inventory import Gpu
from agent.model.mig_instance import whole_and_parts
from agent.planning.gpu_selection import named_gpu, select, unknown_names


def dra_gpus(config: Plumbline, gpus: Iterable[Gpu]) -> frozenset[str]:
    """Return the GPUs that are given through DRA, by UUID; the others through the device plugin."""
    known = tuple(gpus)
    match config.mode:
        case ServingMode.DEVICE_PLUGIN:
            return frozenset()
        case ServingMode.DRA:
            return frozenset(gpu.uuid for gpu in known)
        case ServingMode.SPLIT:
            if config.dra.gpus is None:
                return frozenset()
            return frozenset(
                gpu.uuid for gpu in select(config.dra.gpus, [named_gpu(gpu) for gpu in known])
            )


def unselected(config: Plumbline, gpus: Iterable[Gpu]) -> str | None:
    """Return what is amiss with the GPUs that mode split selects; None where nothing is."""
    selector = config.dra.gpus
    if config.mode is not ServingMode.SPLIT or selector is None:
        return None
    named = [named_gpu(gpu) for gpu in gpus]
    unknown = tuple(unknown_names(selector, named))
    if unknown:
        return "; ".join(unknown)
    if select(selector, named):
        return None
    there = ", ".join(f"{gpu.index} ({gpu.model})" for gpu in named) or "none"
    return f"fits no GPU of this node; there are {there}"


def waiting_for(config: Plumbline, gpus: Iterable[Gpu], ledger: Ledger) -> dict[str, str]:
    """Return who keeps GPUs from being given through the door that is theirs, by UUID.

    A pod or a claim from before, which has it through the other one until it ends.
    """
    known = tuple(gpus)
    through_dra = dra_gpus(config, known)
    waiting = {}
    for gpu in known:
        held = [
            each
            for device in whole_and_parts(gpu)
            for each in ledger.allocations(device.uuid)
            if (each.resource == CLAIMED) != (gpu.uuid in through_dra)
        ]
        if held:
            kind = "claim" if held[0].resource == CLAIMED else "pod"
            waiting[gpu.uuid] = f"{kind} {held[0].holder or 'that is being started'}"
    return waiting
