"""A declared layout on the GPUs of a node: what is wanted of each, or all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from agent.config.conversion import nearest
from agent.config.layouts import Entry, Layout, Wish
from agent.config.problems import Problem
from agent.planning.gpu_selection import is_for_this_node, names_gpus, select, unknown_names
from agent.planning.layout_model import (
    Divided,
    DivisibleGpu,
    GpuKind,
    Mode,
    Resolution,
    Wanted,
    kinds_of,
)
from agent.planning.layout_wishes import describe, divide


class _Claim(Struct, frozen=True, kw_only=True):
    """What one entry wants of one GPU."""

    entry: Entry
    gpu: DivisibleGpu
    kind: GpuKind
    wanted: Wanted


Claims = Mapping[str, _Claim]
"""By UUID."""


def choose_layout(
    layouts: Mapping[str, Layout], name: str | None, *, where: str, path: str
) -> Layout | Problem:
    """Return the layout of a name, or the only one where no name is given.

    ``where`` and ``path`` are where the name stands.
    """
    if name is None and len(layouts) == 1:
        return next(iter(layouts.values()))
    if name is not None and name in layouts:
        return layouts[name]
    listed = ", ".join(layouts)
    if not layouts:
        message = "no layout is declared; write one under plumbline.mig.layouts"
    elif name is None:
        message = f"is missing; the layouts are {listed}"
    else:
        alike = nearest(name, layouts)
        said = f"{name!r} is not a layout"
        hint = f"the layouts are {listed}" if alike is None else f"did you mean {alike!r}?"
        message = f"{said}; {hint}"
    return Problem(where=where, path=path, message=message)


def resolve_layout(layout: Layout, gpus: Sequence[DivisibleGpu]) -> Resolution:
    """Return what a layout wants of each GPU of a node, or every problem with it.

    A GPU that no entry selects is kept as it is. Entries for other kinds of GPU than the node
    has are passed over, so that one file serves many nodes, as long as one is for this node.
    """
    problems: list[Problem] = []
    claims: Claims = {}
    here = [entry for entry in layout.entries if is_for_this_node(entry.gpus, gpus)]
    if not here:
        kinds = ", ".join(dict.fromkeys(gpu.model for gpu in gpus)) or "no GPU"
        message = f"selects no GPU of this node, which has {kinds}"
        problems.append(Problem(where=layout.where, path=layout.path, message=message))
    for entry in here:
        chosen = select(entry.gpus, gpus)
        problems += _selection_problems(entry, chosen, gpus)
        wishes = _wishes(entry, chosen, problems)
        problems += _conflicts(entry, wishes, claims)
        claims = {**wishes, **claims}
    if problems:
        return Resolution(problems=tuple(dict.fromkeys(problems)))
    return Resolution(
        wanted={
            gpu.uuid: claims[gpu.uuid].wanted if gpu.uuid in claims else Mode.KEEP for gpu in gpus
        }
    )


def _selection_problems(
    entry: Entry, chosen: Sequence[DivisibleGpu], gpus: Sequence[DivisibleGpu]
) -> Iterator[Problem]:
    wrong = list(unknown_names(entry.gpus, gpus))
    if not wrong and not chosen:
        wrong = ["selects no GPU: none fits every key"]
    for message in wrong:
        yield Problem(where=entry.where, path=entry.path, message=message)


def _conflicts(entry: Entry, chosen: Mapping[str, _Claim], claims: Claims) -> Iterator[Problem]:
    """Yield how an entry contradicts earlier ones, once for each of them and each wish."""
    numbers: dict[tuple[str, str, str, str], list[int]] = {}
    for uuid, claim in chosen.items():
        before = claims.get(uuid)
        if before is not None and before.wanted != claim.wanted:
            said = (before.entry.path, before.entry.where, _say(before), _say(claim))
            numbers.setdefault(said, []).append(claim.gpu.index)
    for (path, where, former, latter), gpus in numbers.items():
        noun = "GPU" if len(gpus) == 1 else "GPUs"
        message = (
            f"wants {latter} of {noun} {', '.join(map(str, gpus))}, of which {path} ({where}) "
            f"wants {former}; select each GPU once"
        )
        yield Problem(where=entry.where, path=entry.path, message=message)


def _wishes(
    entry: Entry, chosen: Sequence[DivisibleGpu], problems: list[Problem]
) -> dict[str, _Claim]:
    """Return what an entry wants of each GPU it selects; add why it cannot to the problems."""
    kinds = kinds_of(chosen)
    wishes: dict[str, _Claim] = {}
    for gpu in chosen:
        kind = kinds[gpu.uuid]
        wanted = _wanted(entry, gpu, kind)
        if isinstance(wanted, tuple):
            problems += wanted
        else:
            wishes[gpu.uuid] = _Claim(entry=entry, gpu=gpu, kind=kind, wanted=wanted)
    return wishes


def _wanted(entry: Entry, gpu: DivisibleGpu, kind: GpuKind) -> Wanted | tuple[Problem, ...]:
    if entry.wish is Wish.KEEP:
        return Mode.KEEP
    if not gpu.capable:
        if entry.wish is Wish.DIVIDE and names_gpus(entry.gpus):
            message = f"{kind} cannot do MIG; leave out what cannot"
            return (Problem(where=entry.where, path=entry.path, message=message),)
        return Mode.KEEP
    return Mode.OFF if entry.wish is Wish.OFF else divide(entry, kind)


def _say(claim: _Claim) -> str:
    match claim.wanted:
        case Divided(instances=instances):
            return describe(instances, claim.kind)
        case Mode.OFF:
            return "MIG off"
        case Mode.KEEP:
            return "no change"
