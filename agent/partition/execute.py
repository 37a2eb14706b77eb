"""Carries plans out: written down before, looked at after, and undone where a Step fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from agent.discovery.mig_gpus import MigReading, read_mig_gpus
from agent.model.errors import BusyError, HalfDoneError, HardwareError, RolledBackError
from agent.partition.goal import division, mig_gpu
from agent.partition.journal import Journal, Turn
from agent.partition.reset import Reset
from agent.partition.verbs import Hands
from agent.planning.mig_division import Division
from agent.planning.mig_holders import Held
from agent.planning.mig_outcome import Blocked, Plan
from agent.planning.mig_plan import plan_gpu
from agent.planning.mig_steps import DestroyGpuInstance, MigStep

OTHERS = "somebody who divided this GPU meanwhile"


class Progress(Protocol):
    """Is told of every Step that is about to be executed."""

    def __call__(self, step: MigStep, *, number: int, of: int) -> None:
        """Take in that Step ``number`` of ``of`` begins, counted from 1."""


def quiet(step: MigStep, *, number: int, of: int) -> None:
    """Tell nobody."""


def carry_out(
    plans: Sequence[Plan],
    readings: Iterable[MigReading],
    *,
    folder: Path,
    reset: Reset | None,
    held: Held,
    progress: Progress = quiet,
) -> None:
    """Execute plans that were made from these readings; the GPUs are locked by the caller.

    ``held`` is who was given what: undoing leaves that alone too.

    Raises BusyError when something turned out to be in use, RolledBackError when a Step failed:
    either way all is as it was, but for the UUIDs of what had to be made again. Raises
    HalfDoneError when it could not be undone.
    """
    before = {each.uuid: division(each) for each in readings}
    turns = tuple(
        Turn(gpu=plan.gpu, before=before[plan.gpu], after=plan.layout)
        for plan in plans
        if plan.steps
    )
    if not turns:
        return
    journal = Journal.begin(folder, turns)
    steps = [step for plan in plans for step in plan.steps]
    try:
        run(steps, journal, reset, progress)
    except (BusyError, HardwareError) as error:
        undo(journal, reset, error, held)
    journal.end()


def run(
    steps: Sequence[MigStep], journal: Journal, reset: Reset | None, progress: Progress = quiet
) -> None:
    """Execute Steps, each written down. Raises what ``Hands.execute`` does."""
    hands = Hands(reset)
    for number, step in enumerate(steps, 1):
        progress(step, number=number, of=len(steps))
        journal.doing(step.text)
        hands.execute(step)


def undo(journal: Journal, reset: Reset | None, why: BusyError | HardwareError, held: Held) -> None:
    """Put every GPU of a journal back, and raise what became of it. Does not return."""
    try:
        journal.go_back(str(why))
        lead_to(journal, reset, {turn.gpu: turn.before for turn in journal.turns}, held)
    except (BusyError, HardwareError) as second:
        raise HalfDoneError(
            f"{why}; undoing it failed as well: {second}. It is written down in {journal.path} and"
            " is tried again by the next change, and by the agent when it starts"
        ) from why
    journal.end()
    if isinstance(why, BusyError):
        raise BusyError(f"{why}; everything was put back") from why
    raise RolledBackError(f"{why}; everything was put back") from why


def lead_to(journal: Journal, reset: Reset | None, goal: dict[str, Division], held: Held) -> None:
    """Lead every GPU of a journal to where it was or where it is to be, from wherever it is.

    Raises BusyError when what others hold or made is in the way, HardwareError.
    """
    there = {each.uuid: each for each in read_mig_gpus()}
    steps: list[MigStep] = []
    for turn in journal.turns:
        if turn.gpu not in there:
            raise HardwareError(f"{turn.gpu}: it is gone, or has fallen off the bus")
        steps += _steps_to(there[turn.gpu], turn, goal[turn.gpu], held)
    run(steps, journal, reset)


def _steps_to(reading: MigReading, turn: Turn, goal: Division, held: Held) -> tuple[MigStep, ...]:
    """Return the Steps that lead to a goal, and touch nothing that others made or hold.

    Raises BusyError when there are none.
    """
    ours = {(w.profile, w.start) for w in (*(turn.before or ()), *(turn.after or ()))}
    foreign = [
        each for each in reading.instances if (each.profile, each.placement.start) not in ours
    ]
    uuids = [compute.uuid for each in foreign for compute in each.compute]
    theirs = {uuid: (OTHERS,) for uuid in uuids if uuid is not None}
    outcome = plan_gpu(mig_gpu(reading, {**theirs, **held}), goal)
    if isinstance(outcome, Blocked):
        raise BusyError("; ".join(each.text for each in outcome.obstacles))
    if not isinstance(outcome, Plan):
        raise HardwareError(outcome.text)
    for step in outcome.steps:
        if isinstance(step, DestroyGpuInstance) and step.instance in foreign:
            raise BusyError(f"{step.text}: it belongs to {OTHERS}")
    return outcome.steps
