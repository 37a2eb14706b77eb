"""From where everything goes to Steps in an order the driver accepts.

MIG mode on first, off last. Compute instances go before the GPU instance around them, whatever goes
before whatever comes: so no step ever needs more room than the layouts before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from agent.model.mig import ComputeInstance, GpuInstance, MigPlacement, WantedInstance
from agent.planning.mig_arrange import Occupancy
from agent.planning.mig_compute import NewCompute, new_compute
from agent.planning.mig_division import compute_name
from agent.planning.mig_room import MigTable
from agent.planning.mig_steps import (
    CreateComputeInstance,
    CreateGpuInstance,
    DestroyComputeInstance,
    DestroyGpuInstance,
    Existing,
    MigStep,
    New,
    SetMigMode,
)

Places = tuple[tuple[WantedInstance, MigPlacement], ...]
"""Every instance of a layout with its place, by start."""


def mode_steps(gpu: str, *, enabled: bool, pending: bool, wanted: bool) -> tuple[MigStep, ...]:
    """Return the step to MIG mode as wanted, if one is needed.

    Setting a mode that is pending already is how the driver is asked to try again.
    """
    if enabled == pending == wanted:
        return ()
    step = SetMigMode(gpu=gpu, enabled=wanted, was_enabled=enabled, was_pending=pending)
    return (step,)


def steps_to(
    gpu: str, table: MigTable, occupancy: Occupancy, places: Places
) -> tuple[MigStep, ...]:
    """Return the steps from what is there to what is to be there."""
    there = {(each.profile, each.placement): each for each in occupancy.instances}
    kept = {(wanted.profile, place): wanted for wanted, place in places}
    sequence = _Sequence(gpu, table)
    going: list[MigStep] = []
    coming: list[MigStep] = []
    for instance in sorted(occupancy.instances, key=lambda each: each.placement):
        wanted = kept.get((instance.profile, instance.placement))
        if wanted is None:
            going += sequence.removal(instance)
        else:
            profile = table.profiles.get(instance.profile)
            change = occupancy.change(instance, wanted.compute, profile)
            going += sequence.destroyed(instance, change.gone)
    numbers = count(1)
    for wanted, place in places:
        found = there.get((wanted.profile, place))
        if found is None:
            coming += sequence.addition(wanted, place, next(numbers))
        else:
            profile = table.profiles.get(found.profile)
            change = occupancy.change(found, wanted.compute, profile)
            coming += sequence.created(Existing(id=found.id), wanted.profile, change.new)
    return (*going, *coming)


class _Sequence:
    """Steps on one GPU."""

    def __init__(self, gpu: str, table: MigTable) -> None:
        self.gpu = gpu
        self.table = table

    def removal(self, instance: GpuInstance) -> Iterator[MigStep]:
        yield from self.destroyed(instance, instance.compute)
        name = self._name(instance.profile)
        yield DestroyGpuInstance(gpu=self.gpu, instance=instance, name=name)

    def addition(
        self, wanted: WantedInstance, place: MigPlacement, number: int
    ) -> Iterator[MigStep]:
        yield CreateGpuInstance(
            gpu=self.gpu,
            profile=wanted.profile,
            placement=place,
            number=number,
            name=self._name(wanted.profile),
        )
        new = new_compute(self.table.profiles.get(wanted.profile), wanted.compute)
        yield from self.created(New(number=number), wanted.profile, new)

    def destroyed(
        self, instance: GpuInstance, compute: Iterable[ComputeInstance]
    ) -> Iterator[MigStep]:
        for each in compute:
            name = self._name(instance.profile, each.profile)
            yield DestroyComputeInstance(gpu=self.gpu, instance=instance, compute=each, name=name)

    def created(
        self, inside: Existing | New, profile: int, compute: Iterable[NewCompute]
    ) -> Iterator[MigStep]:
        for each in compute:
            yield CreateComputeInstance(
                gpu=self.gpu,
                inside=inside,
                profile=each.profile,
                start=each.start,
                slices=self._slices(profile, each.profile),
                name=self._name(profile, each.profile),
            )

    def _slices(self, profile: int, compute: int) -> int:
        known = self.table.profiles.get(profile)
        return next((c.slices for c in known.compute if c.id == compute), 0) if known else 0

    def _name(self, profile: int, compute: int | None = None) -> str:
        known = self.table.profiles.get(profile)
        if known is None:
            return f"an instance of profile {profile}"
        return known.name if compute is None else compute_name(known, compute)
