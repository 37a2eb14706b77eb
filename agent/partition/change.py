"""One change of how GPUs are divided, from looking at them to the last Step."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from agent.discovery.mig_gpus import read_mig_gpus
from agent.model.errors import BusyError
from agent.model.machine import Machine
from agent.partition.execute import Progress, carry_out, quiet
from agent.partition.goal import Goal, feasible, plan
from agent.partition.journal import Journal
from agent.partition.locks import locked
from agent.partition.recovery import Recovered, recover
from agent.partition.reset import Reset
from agent.planning.mig_holders import Held
from agent.planning.mig_outcome import Plan


def journal_folder(machine: Machine) -> Path:
    """Return where changes are written down until they are done."""
    return machine.path("/var/lib/plumbline/mig")


def change(
    goal: Goal,
    *,
    folder: Path,
    held: Callable[[], Held],
    reset: Reset | None,
    progress: Progress = quiet,
) -> tuple[Plan, ...]:
    """Divide GPUs as wanted, all of them or none; return what was done.

    A change that an earlier process left unfinished is finished first. ``reset`` is how a GPU is
    reset; None: it must not be. ``held`` says who was given what, and is asked once nobody else
    can divide these GPUs any more.

    Raises ConfigError for a goal that cannot be reached, BusyError when what is held, or another
    process that divides one of the GPUs, is in the way; RolledBackError, HalfDoneError (see
    ``carry_out``), HardwareError.
    """
    with locked(folder, goal):
        given = held()
        recovered = recover(folder, reset, given, mine=frozenset(goal))
        readings = read_mig_gpus()
        left = _unfinished(recovered, goal, {each.uuid for each in readings})
        outcomes = plan(readings, goal, given)
        plans = feasible(outcomes, readings, may_reset=reset is not None)
        carry_out(plans, readings, folder=folder, reset=reset, held=held, progress=progress)
        for each in left:
            each.end()
    return plans


def _unfinished(
    recovered: tuple[Recovered, ...], goal: Goal, there: Collection[str]
) -> list[Journal]:
    """Return the unfinished changes that this one makes up for.

    Raises BusyError when one concerns GPUs of this change and others: those would be forgotten.
    One that is not there any more has lost its instances, and keeps nobody waiting.
    """
    left = [each for each in recovered if each.outcome == "stuck" and goal.keys() & {*each.gpus}]
    for each in left:
        others = sorted({*each.gpus}.intersection(there) - goal.keys())
        if others:
            raise BusyError(
                f"an earlier change could be neither finished nor undone ({each.reason}) and"
                f" concerns {', '.join(others)} too; change them together"
            )
    return [Journal(each.journal, ()) for each in left]
