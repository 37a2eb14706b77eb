"""What `plumbline mig plan` and its neighbours answer, as values and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from agent.cli.render import ranges
from agent.discovery.mig_gpus import MigReading
from agent.partition.goal import Goal, resets_gpu
from agent.planning.mig_division import division_words
from agent.planning.mig_outcome import Blocked, Impossible, MigOutcome, Plan
from agent.planning.mig_room import table_of
from agent.planning.mig_steps import MigStep


class ObstacleAnswer(Struct, frozen=True, kw_only=True):
    """Something held that would have to go."""

    name: str
    """``3g.40gb at 4``, or ``the whole GPU``."""
    holders: tuple[str, ...]


class GpuAnswer(Struct, frozen=True, kw_only=True):
    """What becomes of one GPU."""

    index: int
    uuid: str
    model: str
    outcome: str
    """``plan``, ``blocked``, ``impossible``, ``same`` where nothing is to be done, ``keep`` where
    the layout leaves it as it is."""
    steps: tuple[str, ...] = ()
    """What would be done, one after the other."""
    resets: bool = False
    """The GPU has to be reset for it, which ends what runs there."""
    layout: str | None = None
    """What the GPU is divided into then."""
    obstacles: tuple[ObstacleAnswer, ...] = ()
    now: tuple[str, ...] = ()
    """Steps to as much as can be had beside what is held."""
    reasons: tuple[str, ...] = ()
    """Why it is impossible."""
    offers: tuple[str, ...] = ()
    """What the GPU can be divided into: ``1g.10gb (7)``."""
    nearest: str | None = None
    """The most that could be had, now or at all."""


class PlanAnswer(Struct, frozen=True, kw_only=True):
    """What becomes of a node."""

    layout: str
    steps: int
    gpus: tuple[GpuAnswer, ...]


def plan_answer(
    name: str, readings: Sequence[MigReading], goal: Goal, outcomes: Sequence[MigOutcome]
) -> PlanAnswer:
    """Return the answer about a layout, GPU by GPU in the driver's order."""
    found = {each.gpu: each for each in outcomes}
    gpus = tuple(_gpu(each, goal, found.get(each.uuid)) for each in readings)
    return PlanAnswer(layout=name, steps=sum(len(each.steps) for each in gpus), gpus=gpus)


def lines(answer: PlanAnswer) -> Iterator[str]:
    """Yield an answer in words; GPUs of which the same is to be said are named together."""
    groups: dict[GpuAnswer, list[GpuAnswer]] = {}
    for gpu in answer.gpus:
        groups.setdefault(replace(gpu, index=0, uuid=""), []).append(gpu)
    for alike in groups.values():
        yield from _lines(alike)


def said(step: MigStep) -> str:
    """Return a Step without the GPU it is on."""
    return step.text.removeprefix(f"{step.gpu}: ")


def _gpu(reading: MigReading, goal: Goal, outcome: MigOutcome | None) -> GpuAnswer:
    answer = GpuAnswer(
        index=reading.index,
        uuid=reading.uuid,
        model=reading.model,
        outcome="same" if reading.uuid in goal else "keep",
    )
    match outcome:
        case Plan(steps=steps, layout=layout):
            return replace(
                answer,
                outcome="plan",
                steps=tuple(map(said, steps)),
                resets=resets_gpu(outcome, reading),
                layout=division_words(table_of(reading.profiles), layout),
            )
        case Blocked(obstacles=obstacles, now=now, nearest=nearest):
            held = tuple(ObstacleAnswer(name=each.name, holders=each.holders) for each in obstacles)
            return replace(
                answer,
                outcome="blocked",
                obstacles=held,
                now=tuple(map(said, now.steps)),
                nearest=nearest,
            )
        case Impossible(reasons=reasons, offers=offers, nearest_words=words):
            return replace(
                answer, outcome="impossible", reasons=reasons, offers=offers, nearest=words
            )
        case None:
            return answer


def _lines(alike: list[GpuAnswer]) -> Iterator[str]:
    gpu = alike[0]
    numbers = ranges(tuple(each.index for each in alike))
    name = f"{'GPU' if len(alike) == 1 else 'GPUs'} {numbers} ({gpu.model})"
    match gpu.outcome:
        case "keep":
            yield f"{name}: as it is"
        case "same":
            yield f"{name}: so already"
        case "plan":
            yield f"{name}: {gpu.layout}{' (after a reset)' if gpu.resets else ''}"
            yield from (f"  {step}" for step in gpu.steps)
        case "blocked":
            yield f"{name}: blocked"
            for each in gpu.obstacles:
                yield f"  {each.name} is held by {', '.join(each.holders)}"
            yield f"  possible now: {gpu.nearest}"
        case _:
            yield f"{name}: impossible"
            yield from (f"  {reason}" for reason in gpu.reasons)
            yield f"  it offers {', '.join(gpu.offers) or 'nothing'}"
            yield f"  what fits: {gpu.nearest}"
