"""From a declared layout and what the GPUs are to a plan for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agent.config.layouts import Layout
from agent.discovery.mig_gpus import MigReading
from agent.model.errors import BusyError, ConfigError
from agent.model.mig import GpuInstance, WantedInstance
from agent.planning.layout import resolve_layout
from agent.planning.layout_model import Divided, DivisibleGpu, Mode
from agent.planning.mig_division import Division
from agent.planning.mig_holders import Held, holders_of, whole_holders
from agent.planning.mig_outcome import Blocked, Impossible, MigGpu, MigOutcome, Plan
from agent.planning.mig_plan import plan_node
from agent.planning.mig_steps import SetMigMode

Goal = Mapping[str, Division]
"""How GPUs are to be divided, by UUID; those that stay as they are left out."""


def goal_of(layout: Layout, readings: Sequence[MigReading]) -> dict[str, Division]:
    """Return what a layout wants of each GPU. Raises ConfigError that names every problem."""
    resolution = resolve_layout(layout, [divisible(each) for each in readings])
    if resolution.problems:
        raise ConfigError("\n".join(str(each) for each in resolution.problems))
    return {
        uuid: wanted.instances if isinstance(wanted, Divided) else None
        for uuid, wanted in resolution.wanted.items()
        if wanted is not Mode.KEEP
    }


def divisible(reading: MigReading) -> DivisibleGpu:
    """Return a GPU as far as layouts look at it."""
    return DivisibleGpu(
        index=reading.index,
        uuid=reading.uuid,
        address=reading.address,
        module_id=reading.module_id,
        model=reading.model,
        device_id=reading.device_id,
        subsystem_id=reading.subsystem_id,
        capable=reading.capable,
        profiles=reading.profiles,
    )


def mig_gpu(reading: MigReading, held: Held) -> MigGpu:
    """Return a GPU as the planner wants it."""
    return MigGpu(
        uuid=reading.uuid,
        profiles=reading.profiles,
        enabled=reading.enabled,
        pending=reading.pending,
        instances=reading.instances,
        holders=holders_of(reading.uuid, reading.instances, reading.processes, held),
        whole_holders=whole_holders(reading.uuid, reading.processes, held),
    )


def division(reading: MigReading) -> Division:
    """Return how a GPU is divided, every instance with its start; None: MIG mode is off."""
    return tuple(map(_as_wanted, reading.instances)) if reading.enabled else None


def plan(readings: Sequence[MigReading], goal: Goal, held: Held) -> tuple[MigOutcome, ...]:
    """Return what is to be done to each GPU, by index; those that are as they should be left out.

    Raises ConfigError for a GPU that is not there any more.
    """
    index = {each.uuid: each.index for each in readings}
    gone = sorted(goal.keys() - index.keys())
    if gone:
        raise ConfigError(f"{', '.join(gone)}: gone, or fallen off the bus")
    outcomes = plan_node([mig_gpu(each, held) for each in readings], goal)
    return tuple(sorted(outcomes, key=lambda each: index[each.gpu]))


def feasible(
    outcomes: Iterable[MigOutcome], readings: Iterable[MigReading], *, may_reset: bool
) -> tuple[Plan, ...]:
    """Return the plans, when every GPU has one.

    Raises ConfigError when a GPU cannot be divided so, or would have to be reset and must not
    be; BusyError when what is held is in the way. Each names all such GPUs.
    """
    names = {each.uuid: each for each in readings}
    plans = [each for each in outcomes if isinstance(each, Plan)]
    impossible = [_named(each, names) for each in outcomes if isinstance(each, Impossible)]
    if impossible:
        raise ConfigError("\n".join(impossible))
    resets = [names[each.gpu] for each in plans if resets_gpu(each, names[each.gpu])]
    if resets and not may_reset:
        listed = ", ".join(map(str, resets))
        raise ConfigError(
            f"{listed}: MIG mode changes only with a reset, which ends whatever runs on the GPU;"
            " allow it with plumbline.mig.allowReset: true (--allow-reset)"
        )
    blocked = [_named(each, names) for each in outcomes if isinstance(each, Blocked)]
    if blocked:
        raise BusyError("\n".join(blocked))
    return tuple(plans)


def resets_gpu(plan_: Plan, reading: MigReading) -> bool:
    """Return True when a plan cannot do without a reset."""
    return reading.needs_reset and any(
        isinstance(step, SetMigMode) and step.enabled != step.was_enabled for step in plan_.steps
    )


def _named(outcome: Blocked | Impossible, names: Mapping[str, MigReading]) -> str:
    return outcome.text.replace(outcome.gpu, f"{names[outcome.gpu]} {outcome.gpu}", 1)


def _as_wanted(instance: GpuInstance) -> WantedInstance:
    return WantedInstance(
        profile=instance.profile,
        compute=tuple(each.profile for each in instance.compute),
        start=instance.placement.start,
    )
