"""Makes one instance of a GPU, at one place, and takes it away again; everything else stays.

A change that a process began and did not end is ended first, if it is of this kind; any other is
for whoever ordered it. Blocking: call it from a worker thread, with NVML started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agent.discovery.mig_gpus import MigReading, read_mig_gpus
from agent.model.errors import BusyError, HardwareError
from agent.model.mig import GpuInstance, InstancePlace, WantedInstance
from agent.partition.execute import carry_out
from agent.partition.goal import division, feasible, plan
from agent.partition.journal import Journal, Turn, journals
from agent.partition.locks import locked
from agent.partition.recovery import finish
from agent.planning.mig_division import Division


def make_instance(folder: Path, place: InstancePlace, made: Callable[[str], None]) -> None:
    """Make an instance, with MIG mode where it is off.

    ``made`` is told its UUID before the change counts as done: when that fails, or the process
    ends before, the instance is taken away again.

    Raises BusyError when something else is there or under way, ConfigError when it takes a
    reset, HardwareError.
    """
    with _alone(folder, place):
        reading = _reading(place.gpu)
        for each in reading.instances:
            if each.placement.overlaps(place.placement):
                raise BusyError(f"{place} is taken by an instance that somebody else made")
        there = division(reading) or ()
        _change(
            reading,
            (*there, _wanted(reading, place)),
            folder,
            lambda: made(_uuid_at(_reading(place.gpu), place)),
        )


def remove_instances(folder: Path, made: Mapping[InstancePlace, str | None]) -> None:
    """Take instances of one GPU away: those with the given UUIDs; None: if only just begun.

    MIG mode goes with the last one where that takes no reset. Raises BusyError while a program
    uses one, HardwareError.
    """
    with _alone(folder, *made) as begun:
        reading = _reading(next(iter(made)).gpu)
        ours = {
            each.id
            for each in reading.instances
            for place, uuid in made.items()
            if place.is_at(each) and (place in begun if uuid is None else _uuids(each) == {uuid})
        }
        there = zip(reading.instances, division(reading) or (), strict=False)
        rest = tuple(wanted for each, wanted in there if each.id not in ours)
        _change(reading, _without_mode(reading, rest), folder, lambda: None)


def make_whole(folder: Path, gpu: str) -> None:
    """Have a GPU that is not divided leave MIG mode. Raises as ``make_instance``."""
    with locked(folder, [gpu]):
        reading = _reading(gpu)
        if not reading.enabled:
            return
        if reading.instances:
            raise BusyError(f"{gpu} is divided into instances that somebody else made")
        _change(reading, None, folder, lambda: None)


@contextmanager
def _alone(folder: Path, *places: InstancePlace) -> Iterator[frozenset[InstancePlace]]:
    """Keep others from dividing a GPU; yield which of these instances were only begun before."""
    gpu = places[0].gpu
    with locked(folder, [gpu]):
        begun: frozenset[InstancePlace] = frozenset()
        for path in journals(folder):
            journal = Journal.read(path)
            if journal is None or all(turn.gpu != gpu for turn in journal.turns):
                continue
            changed = _changed(journal.turns, places)
            if changed is None:
                raise BusyError(f"an earlier change of {gpu} has not been ended: {path}")
            outcome, reason = finish(journal, None, {})
            if outcome == "stuck":
                raise BusyError(f"an earlier change of {gpu} cannot be ended: {reason}")
            begun |= changed
        yield begun


def _changed(
    turns: tuple[Turn, ...], places: tuple[InstancePlace, ...]
) -> frozenset[InstancePlace] | None:
    """Return which of these instances a change makes or removes; None where it does more."""
    if len(turns) != 1:
        return None
    changed = _places(turns[0].before) ^ _places(turns[0].after)
    mine = frozenset(each for each in places if (each.profile, each.placement.start) in changed)
    return mine if len(mine) == len(changed) else None


def _places(division_: Division) -> set[tuple[int, int | None]]:
    return {(each.profile, each.start) for each in division_ or ()}


def _change(reading: MigReading, goal: Division, folder: Path, done: Callable[[], None]) -> None:
    outcomes = plan([reading], {reading.uuid: goal}, {})
    plans = feasible(outcomes, [reading], may_reset=False)
    carry_out(plans, [reading], folder=folder, reset=None, held=_nobody, done=done)


def _nobody() -> Mapping[str, tuple[str, ...]]:
    # Every other instance is part of the goal, and the driver knows who is at work.
    return {}


def _wanted(reading: MigReading, place: InstancePlace) -> WantedInstance:
    profile = next((each for each in reading.profiles if each.id == place.profile), None)
    if profile is None or profile.whole is None:
        raise HardwareError(f"{reading.uuid} offers no profile {place.profile} any more")
    return WantedInstance(
        profile=profile.id, compute=(profile.whole.id,), start=place.placement.start
    )


def _without_mode(reading: MigReading, rest: tuple[WantedInstance, ...]) -> Division:
    return None if not rest and not reading.needs_reset else rest


def _reading(gpu: str) -> MigReading:
    found = next((each for each in read_mig_gpus() if each.uuid == gpu), None)
    if found is None:
        raise HardwareError(f"{gpu}: it is gone, or has fallen off the bus")
    return found


def _uuid_at(reading: MigReading, place: InstancePlace) -> str:
    found = {uuid for each in reading.instances if place.is_at(each) for uuid in _uuids(each)}
    if len(found) != 1:
        raise HardwareError(f"the driver shows no instance at {place}")
    return found.pop()


def _uuids(instance: GpuInstance) -> set[str]:
    return {each.uuid for each in instance.compute if each.uuid is not None}
