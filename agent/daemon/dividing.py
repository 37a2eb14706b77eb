"""The blocking half of Orders: looks at how GPUs are divided, and divides them.

Every method runs on a thread of its own, one at a time, and never beside a look of the Lookout: a
reset needs the driver to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from agent.config.mig import Mig
from agent.discovery.library import Session
from agent.ledger.ledger import Ledger
from agent.model.errors import ConfigError
from agent.model.machine import Machine
from agent.planning.mig_holders import Held
from agent.planning.mig_outcome import Blocked, MigOutcome, Plan

if TYPE_CHECKING:
    from agent.config.layouts import Layout
    from agent.discovery.mig_gpus import MigReading
    from agent.partition.goal import Goal
    from agent.partition.recovery import Recovered
    from agent.partition.reset import Reset

STARTING = "a pod that is being started"


class Assessment(Struct, frozen=True, kw_only=True):
    """What leads to a layout, and what is in the way."""

    goal: Goal
    outcomes: tuple[MigOutcome, ...]
    """For every GPU that is not so already: a Plan, or who blocks it."""
    names: Mapping[str, str]
    """What messages call a GPU, by UUID."""

    @property
    def blocked(self) -> tuple[Blocked, ...]:
        """Return what waits for others."""
        return tuple(each for each in self.outcomes if isinstance(each, Blocked))

    @property
    def blocked_text(self) -> str:
        """Return who holds what that would have to go, and what could be had without; empty where
        nothing is held.
        """
        return "; ".join(
            f"{self.names[each.gpu]}: {', '.join(obstacle.text for obstacle in each.obstacles)}"
            f" (possible now: {each.nearest})"
            for each in self.blocked
        )


class Dividing:
    """Divides the GPUs of one machine as its layouts say."""

    def __init__(self, machine: Machine, let_go: Callable[[], object]) -> None:
        """Remember the machine; ``let_go`` closes what else of this process holds the driver."""
        self._machine = machine
        self._let_go = let_go

    def unfinished(self) -> tuple[str, ...]:
        """Return the GPUs of which an earlier process left a change, or is still at one.

        Raises HardwareError, ConfigError.
        """
        # Imported here: a node that never divides its GPUs does not pay for it.
        from agent.partition.change import journal_folder  # noqa: PLC0415
        from agent.partition.recovery import unfinished  # noqa: PLC0415

        return unfinished(journal_folder(self._machine))

    def at_work(self) -> tuple[str, ...]:
        """Return the GPUs that other processes are dividing now. Raises ConfigError."""
        from agent.partition.change import journal_folder  # noqa: PLC0415
        from agent.partition.locks import locked_by_others  # noqa: PLC0415

        return locked_by_others(journal_folder(self._machine))

    def recover(self, mig: Mig, held: Held) -> tuple[Recovered, ...]:
        """Finish or undo what an earlier process left. Raises HardwareError."""
        from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415
        from agent.partition.change import journal_folder  # noqa: PLC0415
        from agent.partition.nodes import make_nodes  # noqa: PLC0415
        from agent.partition.recovery import recover  # noqa: PLC0415

        with Session(self._machine) as session:
            found = recover(journal_folder(self._machine), self._reset(session, mig), held)
            make_nodes(self._machine, read_mig_gpus())
        return found

    def assess(self, mig: Mig, where: str, name: str, held: Held) -> Assessment:
        """Return what leads to the layout of a name.

        ``where`` is where ``mig`` stands, for messages. Raises ConfigError where there is no
        such layout or the GPUs cannot have it; HardwareError.
        """
        from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415
        from agent.partition.goal import feasible, goal_of, plan  # noqa: PLC0415
        from agent.partition.nodes import make_nodes  # noqa: PLC0415

        with Session(self._machine):
            readings = read_mig_gpus()
        goal = goal_of(_layout(mig, where, name, readings), readings)
        outcomes = plan(readings, goal, held)
        # What is blocked can wait; what is impossible need not.
        feasible(
            [each for each in outcomes if not isinstance(each, Blocked)],
            readings,
            may_reset=mig.allow_reset,
        )
        if not outcomes:
            # Who divided them may have died before there were nodes.
            make_nodes(self._machine, readings)
        names = {each.uuid: f"GPU {each.index}" for each in readings}
        return Assessment(goal=goal, outcomes=outcomes, names=names)

    def carry_out(self, mig: Mig, goal: Goal, held: Callable[[], Held]) -> tuple[Plan, ...]:
        """Divide GPUs as wanted. Raises what ``agent.partition.change`` does."""
        from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415
        from agent.partition.change import change, journal_folder  # noqa: PLC0415
        from agent.partition.nodes import make_nodes  # noqa: PLC0415

        with Session(self._machine) as session:
            done = change(
                goal,
                folder=journal_folder(self._machine),
                held=held,
                reset=self._reset(session, mig),
            )
            make_nodes(self._machine, read_mig_gpus())
        return done

    def _reset(self, session: Session, mig: Mig) -> Reset | None:
        from agent.partition.reset import resetting  # noqa: PLC0415

        if not mig.allow_reset:
            return None
        reset = resetting(session)

        def reset_alone(uuid: str) -> None:
            self._let_go()
            reset(uuid)

        return reset_alone


def held_by(ledger: Ledger) -> Held:
    """Return who holds which device, by UUID, as the Ledger knows it."""
    held: dict[str, tuple[str, ...]] = {}
    for each in ledger.confirmed:
        held[each.gpu] = (*held.get(each.gpu, ()), f"pod {each.holder}")
    for grant in ledger.grants:
        gpu = grant.allocation.gpu
        held[gpu] = (*held.get(gpu, ()), STARTING)
    for each in ledger.claimed:
        held[each.gpu] = (*held.get(each.gpu, ()), f"claim {each.holder}")
    return held


def _layout(mig: Mig, where: str, name: str, readings: Sequence[MigReading]) -> Layout:
    from agent.config.layout_sources import GENERATED, generated_layouts  # noqa: PLC0415
    from agent.config.mig_parted import declared_layouts  # noqa: PLC0415
    from agent.config.problems import Problem  # noqa: PLC0415
    from agent.partition.goal import divisible  # noqa: PLC0415
    from agent.planning.layout import choose_layout  # noqa: PLC0415
    from agent.planning.layout_generation import (  # noqa: PLC0415
        generate_layouts,
        layout_document,
    )

    known = declared_layouts(mig, where)
    if name not in known:
        made = generate_layouts([divisible(each) for each in readings])
        known = {**generated_layouts(layout_document(made)), **known} if made else known
    found = choose_layout(known, name, where=where or GENERATED, path="plumbline.mig.layout")
    if isinstance(found, Problem):
        raise ConfigError(str(found))
    return found
