"""Which MPS daemons stay, end and begin, and what waits for whom. Pure.

A GPU is never taken from one way of sharing to another under a pod that holds it: clients of a
daemon that ends lose their work, and work that began without one bypasses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from agent.planning.mig_holders import Held
from agent.planning.mps import MpsSet


class Taken(Struct, frozen=True, kw_only=True):
    """A set whose GPUs were taken over for MPS."""

    set: MpsSet
    modes: Mapping[str, int]
    """The compute modes that its GPUs had before, by UUID, as NVML numbers them."""


class MpsSteps(Struct, frozen=True, kw_only=True):
    """What is to be done now, and why the rest is not."""

    keep: tuple[Taken, ...] = ()
    """Those that go on, with the limits that they are to have."""
    end: tuple[Taken, ...] = ()
    begin: tuple[MpsSet, ...] = ()
    waiting: Mapping[str, str]
    """GPUs that cannot be given meanwhile, by UUID, each with the reason."""


def plan_mps(wanted: Iterable[MpsSet], taken: Sequence[Taken], held: Held | None) -> MpsSteps:
    """Return what leads to the wanted sets; ``held`` None: not known at this moment.

    A set whose GPUs differ from those of its daemon needs another daemon: one sees the GPUs that
    it was started with.
    """
    by_name = {each.name: each for each in wanted}
    keep: list[Taken] = []
    end: list[Taken] = []
    waiting: dict[str, str] = {}
    for each in taken:
        now = by_name.get(each.set.name)
        if now is not None and now.gpus == each.set.gpus:
            keep.append(Taken(set=now, modes=each.modes))
            del by_name[now.name]
        elif (reason := _reason("ends", each.set.gpus, held)) is None:
            end.append(each)
        else:
            keep.append(each)
            waiting |= dict.fromkeys(each.set.gpus, reason)
    occupied = {gpu for each in taken for gpu in each.set.gpus}
    begin: list[MpsSet] = []
    for new in by_name.values():
        reason = _reason("starts", new.gpus, held)
        if occupied.intersection(new.gpus):
            reason = reason or "its MPS daemon starts once another has ended"
        if reason is None:
            begin.append(new)
        else:
            waiting = {**dict.fromkeys(new.gpus, reason), **waiting}
    return MpsSteps(keep=tuple(keep), end=tuple(end), begin=tuple(begin), waiting=waiting)


def _reason(verb: str, gpus: Iterable[str], held: Held | None) -> str | None:
    """Return what the end or the start of a daemon waits for; None: for nothing."""
    if held is None:
        return f"its MPS daemon {verb} once the kubelet has said what pods hold"
    holders = list(dict.fromkeys(name for gpu in gpus for name in held.get(gpu, ())))
    if not holders:
        return None
    return f"its MPS daemon {verb} once these have ended: {', '.join(holders)}"
