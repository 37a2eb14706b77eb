"""Which of several alike MigInstances of one GPU are taken, so that large slots stay whole. Pure.

Instances that nobody holds can be exchanged for others (plumbline mig apply). What is taken
decides where on the GPU's axis of memory slices there is still room for large ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from agent.model.inventory import Gpu
from agent.model.mig import MigPlacement
from agent.model.mig_instance import MigInstance


def take_together(
    candidates: Sequence[MigInstance], held: Iterable[MigInstance], count: int
) -> list[str]:
    """Return UUIDs of so many candidates, all of one GPU, that break into the least.

    ``held`` are instances of that GPU that are taken already, of whatever profile. One after
    the other is taken where it breaks into the fewest large slots that are whole; of equals the
    first on the axis, so that slots are broken into from one end.
    """
    left = list(candidates)
    taken = [each.placement for each in held]
    chosen: list[str] = []
    slots = _slots(left[0].parent) if left else ()
    while left and len(chosen) < count:
        whole = [slot for slot in slots if not any(slot.overlaps(one) for one in taken)]
        best = min(left, key=lambda each: (_broken(each.placement, whole), _place(each)))
        left.remove(best)
        taken.append(best.placement)
        chosen.append(best.uuid)
    return chosen


def _slots(gpu: Gpu) -> Collection[MigPlacement]:
    """Return where instances can lie, each place once."""
    profiles = gpu.partition.profiles if gpu.partition else ()
    return {place for profile in profiles for place in profile.placements}


def _broken(place: MigPlacement, whole: Iterable[MigPlacement]) -> list[int]:
    """Return the sizes of the whole slots that a place lies in, the largest first."""
    return sorted((slot.size for slot in whole if slot.overlaps(place)), reverse=True)


def _place(instance: MigInstance) -> tuple[int, int, str]:
    return instance.placement.start, instance.compute_instance, instance.uuid
