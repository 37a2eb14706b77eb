"""The smallest change from how a GPU is divided to how it should be. What is held stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from agent.model.mig import GpuInstance, WantedInstance
from agent.planning.mig_arrange import Arrangement, Occupancy, arrange, arrange_part
from agent.planning.mig_division import (
    Division,
    compute_name,
    division_words,
    faults,
    largest_first,
    mended,
)
from agent.planning.mig_outcome import Blocked, Impossible, MigGpu, MigOutcome, Obstacle, Plan
from agent.planning.mig_room import MigTable, slices_of, table_of
from agent.planning.mig_sequence import Places, mode_steps, steps_to


def plan_gpu(gpu: MigGpu, wanted: Division) -> MigOutcome:
    """Return how the GPU gets a layout; the same whatever the order of instances."""
    table = table_of(gpu.profiles)
    reasons = faults(table, wanted or ()) if wanted is not None else ()
    if reasons:
        return _impossible(gpu, table, wanted or (), reasons)
    occupancy = Occupancy(instances=gpu.instances, holders=gpu.holders)
    arrangement = arrange(table, occupancy, wanted or ())
    if arrangement is None:
        reason = f"{division_words(table, wanted)} cannot lie beside each other"
        return _impossible(gpu, table, wanted or (), (reason,))
    obstacles = (
        *_whole_obstacles(gpu, wanted),
        *_obstacles(table, occupancy, arrangement.places),
    )
    if obstacles:
        now = _possible_now(gpu, table, occupancy, wanted)
        nearest = division_words(table, now.layout)
        return Blocked(gpu=gpu.uuid, obstacles=obstacles, now=now, nearest=nearest)
    mode = mode_steps(gpu.uuid, enabled=gpu.enabled, pending=gpu.pending, wanted=wanted is not None)
    steps = steps_to(gpu.uuid, table, occupancy, arrangement.places)
    if wanted is None:
        return Plan(gpu=gpu.uuid, steps=(*steps, *mode), layout=None)
    layout = _layout(table, arrangement.places)
    return Plan(gpu=gpu.uuid, steps=(*mode, *steps), layout=layout)


def plan_node(gpus: Iterable[MigGpu], wanted: Mapping[str, Division]) -> tuple[MigOutcome, ...]:
    """Return the outcome for each GPU with a wanted layout, by UUID; those that have it already
    are left out. One GPU's outcome is never another's business.
    """
    made: dict[object, Plan] = {}
    outcomes = (
        _plan_like(gpu, wanted[gpu.uuid], made)
        for gpu in sorted(gpus, key=lambda gpu: gpu.uuid)
        if gpu.uuid in wanted
    )
    return tuple(each for each in outcomes if not isinstance(each, Plan) or each.steps)


def _plan_like(gpu: MigGpu, wanted: Division, made: dict[object, Plan]) -> MigOutcome:
    """Return the outcome for a GPU; GPUs that are alike and empty are planned once."""
    if gpu.instances or gpu.whole_holders:
        return plan_gpu(gpu, wanted)
    key = (gpu.profiles, gpu.enabled, gpu.pending, wanted)
    known = made.get(key)
    if known is not None:
        steps = tuple(replace(step, gpu=gpu.uuid) for step in known.steps)
        return replace(known, gpu=gpu.uuid, steps=steps)
    outcome = plan_gpu(gpu, wanted)
    if isinstance(outcome, Plan):
        made[key] = outcome
    return outcome


def _whole_obstacles(gpu: MigGpu, wanted: Division) -> Iterator[Obstacle]:
    if gpu.whole_holders and gpu.enabled != (wanted is not None):
        yield Obstacle(holders=gpu.whole_holders, instance=None, compute=None, name="the whole GPU")


def _obstacles(table: MigTable, occupancy: Occupancy, places: Places) -> Iterator[Obstacle]:
    wanted = {(each.profile, place): each.compute for each, place in places}
    for instance in occupancy.held:
        compute = wanted.get((instance.profile, instance.placement))
        gone = instance.compute
        if compute is not None:
            profile = table.profiles.get(instance.profile)
            gone = occupancy.change(instance, compute, profile).gone
        for each in gone:
            holders = occupancy.holders.get((instance.id, each.id))
            if holders:
                name = f"{_name(table, instance, each.profile)} at {instance.placement.start}"
                yield Obstacle(holders=holders, instance=instance, compute=each, name=name)


def _name(table: MigTable, instance: GpuInstance, compute: int) -> str:
    profile = table.profiles.get(instance.profile)
    if profile is None:
        return f"an instance of profile {instance.profile}"
    return compute_name(profile, compute)


def _possible_now(gpu: MigGpu, table: MigTable, occupancy: Occupancy, wanted: Division) -> Plan:
    """Return the way to the largest part of the layout; MIG mode in effect stays as it is."""
    if not gpu.enabled:
        return Plan(gpu=gpu.uuid, steps=(), layout=None)
    part = arrange_part(table, occupancy, wanted or ()).places
    taken = sum(slices_of(place) for _, place in part)
    rest = tuple(
        (_as_wanted(each), each.placement)
        for each in occupancy.held
        if not slices_of(each.placement) & taken
    )
    places = tuple(sorted((*part, *rest), key=lambda pair: pair[1]))
    mode = (
        ()
        if wanted is None
        else mode_steps(gpu.uuid, enabled=True, pending=gpu.pending, wanted=True)
    )
    return Plan(
        gpu=gpu.uuid,
        steps=(*mode, *steps_to(gpu.uuid, table, occupancy, places)),
        layout=_layout(table, places),
    )


def _as_wanted(instance: GpuInstance) -> WantedInstance:
    return WantedInstance(
        profile=instance.profile, compute=tuple(each.profile for each in instance.compute)
    )


def _layout(table: MigTable, places: Places) -> tuple[WantedInstance, ...]:
    return tuple(
        replace(
            each,
            compute=largest_first(table.profiles.get(each.profile), each.compute),
            start=place.start,
        )
        for each, place in places
    )


def _impossible(
    gpu: MigGpu, table: MigTable, wanted: tuple[WantedInstance, ...], reasons: tuple[str, ...]
) -> Impossible:
    nearest = _layout(table, _largest_part(table, mended(table, wanted)).places)
    return Impossible(
        gpu=gpu.uuid,
        reasons=reasons,
        offers=tuple(f"{each.name} ({each.most})" for each in table.profiles.values()),
        nearest=nearest,
        nearest_words=division_words(table, nearest),
    )


def _largest_part(table: MigTable, wanted: tuple[WantedInstance, ...]) -> Arrangement:
    """Return the largest part an empty GPU has place for, at other starts only if that helps."""
    empty = Occupancy(instances=(), holders={})
    anywhere = tuple(replace(each, start=None) for each in wanted)
    parts = [arrange_part(table, empty, each) for each in dict.fromkeys((wanted, anywhere))]
    return max(parts, key=lambda part: (part.slices, len(part.places)))
