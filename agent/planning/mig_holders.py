"""Who is at work on, or was given, which part of a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agent.model.mig import GpuInstance, MigProcess
from agent.planning.mig_arrange import Holders

Held = Mapping[str, tuple[str, ...]]
"""Who was given a device, by its UUID: ``pod default/train``."""


def holders_of(
    uuid: str, instances: Iterable[GpuInstance], processes: Sequence[MigProcess], held: Held
) -> Holders:
    """Return who holds which compute instance; those that nobody holds are left out.

    Who was given the GPU of this UUID has all of its instances: NVIDIA's runtime adds them.
    """
    found = {
        (instance.id, compute.id): (
            *held.get(uuid, ()),
            *(held.get(compute.uuid, ()) if compute.uuid else ()),
            *_at_work(processes, instance.id, compute.id),
        )
        for instance in instances
        for compute in instance.compute
    }
    return {place: names for place, names in found.items() if names}


def whole_holders(uuid: str, processes: Sequence[MigProcess], held: Held) -> tuple[str, ...]:
    """Return who holds the GPU of a UUID as a whole."""
    return (*held.get(uuid, ()), *_at_work(processes, None, None))


def _at_work(
    processes: Sequence[MigProcess], instance: int | None, compute: int | None
) -> tuple[str, ...]:
    return tuple(
        f"process {each.pid}"
        for each in processes
        if (each.gpu_instance, each.compute_instance) == (instance, compute)
    )
