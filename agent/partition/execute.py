"""Carries plans out: written down before, looked at after, and undone where a Step fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from agent.discovery.mig_gpus import MigReading, read_mig_gpus
from agent.model.errors import (
    BusyError,
    HalfDoneError,
    HardwareError,
    PlumblineError,
    RolledBackError,
)
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


def nothing() -> None:
    """Do nothing more."""


def quiet(step: MigStep, *, number: int, of: int) -> None:
    """Tell nobody."""


def carry_out(
    plans: Sequence[Plan],
    readings: Iterable[MigReading],
    *,
    folder: Path,
    reset: Reset | None,
    held: Callable[[], Held],
    progress: Progress = quiet,
    done: Callable[[], None] = nothing,
) -> None:
    """Execute plans that were made from these readings; the GPUs are locked by the caller.

    ``held`` says who was given what, and is asked again before anything is undone: what was made
    may have been given away since. ``done`` is called when all Steps are, before the change counts
    as ended: where it fails, they are undone.

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
        done()
    except (BusyError, HardwareError) as error:
        undo(journal, reset, error, held)
    except KeyboardInterrupt:
        undo(journal, reset, HardwareError("interrupted"), held)
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


def undo(
    journal: Journal,
    reset: Reset | None,
    why: BusyError | HardwareError,
    held: Callable[[], Held],
) -> None:
    """Put every GPU of a journal back, and raise what became of it. Does not return."""
    journal.go_back(str(why))
    try:
        lead_back(journal, reset, held())
    except PlumblineError as second:
        raise HalfDoneError(
            f"{why}; undoing it failed as well: {second}. It is written down in {journal.path} and"
            " is tried again by the next change, and by the agent when it starts"
        ) from why
    journal.end()
    if isinstance(why, BusyError):
        raise BusyError(f"{why}; everything was put back") from why
    raise RolledBackError(f"{why}; everything was put back") from why


def lead_forward(journal: Journal, reset: Reset | None, held: Held) -> None:
    """Lead every GPU of a journal to where it was to be, from wherever it is.

    Raises BusyError when what others hold or made is in the way, HardwareError.
    """
    there = {each.uuid: each for each in read_mig_gpus()}
    steps = [
        step
        for turn in journal.turns
        for step in _steps_to(_found(there, turn.gpu), turn, turn.after, held)
    ]
    run(steps, journal, reset)


def lead_back(journal: Journal, reset: Reset | None, held: Held) -> None:
    """Lead every GPU of a journal to where it was; one that cannot be keeps no other from it.

    Raises as ``lead_forward`` does, once all others are back.
    """
    failures: list[BusyError | HardwareError] = []
    there = {each.uuid: each for each in read_mig_gpus()}
    for turn in journal.turns:
        try:
            run(_steps_to(_found(there, turn.gpu), turn, turn.before, held), journal, reset)
        except (BusyError, HardwareError) as error:
            failures.append(error)
    if failures:
        said = "; ".join(map(str, failures))
        kind = HardwareError if len(failures) > 1 else type(failures[0])
        raise kind(said) from failures[0]


def _found(there: Mapping[str, MigReading], gpu: str) -> MigReading:
    if gpu not in there:
        raise HardwareError(f"{gpu}: it is gone, or has fallen off the bus")
    return there[gpu]


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
