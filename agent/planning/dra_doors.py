"""Through which of the kubelet's doors each GPU is given. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agent.config.own import Mode, Plumbline
from agent.model.inventory import Gpu
from agent.planning.gpu_selection import NamedGpu, select


def dra_gpus(config: Plumbline, gpus: Iterable[Gpu]) -> frozenset[str]:
    """Return the GPUs that are given through DRA, by UUID; the others through the device plugin."""
    known = tuple(gpus)
    match config.mode:
        case Mode.DEVICE_PLUGIN:
            return frozenset()
        case Mode.DRA:
            return frozenset(gpu.uuid for gpu in known)
        case Mode.SPLIT:
            if config.dra.gpus is None:
                return frozenset()
            return frozenset(
                gpu.uuid for gpu in select(config.dra.gpus, [_named(gpu) for gpu in known])
            )


def _named(gpu: Gpu) -> NamedGpu:
    return NamedGpu(
        index=gpu.index,
        uuid=gpu.uuid,
        address=gpu.address,
        module_id=gpu.module_id,
        model=gpu.name,
        device_id=None,
        subsystem_id=None,
    )
