"""Makes a valid answer of whatever a backend preferred. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deviceplugin.values import PreferenceRequest


def fault(request: PreferenceRequest, answer: Sequence[str]) -> str | None:
    """Return what is wrong with an answer; None for a valid one."""
    chosen = set(answer)
    offered = {*request.available, *request.must_include}
    if unknown := chosen - offered:
        return f"ids that were not offered: {_listed(unknown)}"
    if len(chosen) != len(answer):
        return f"{len(answer)} ids of which only {len(chosen)} differ"
    if len(answer) != request.size:
        return f"{len(answer)} ids where {request.size} were asked for"
    if missing := set(request.must_include) - chosen:
        return f"left out ids that must be included: {_listed(missing)}"
    return None


def repair(request: PreferenceRequest, answer: Sequence[str]) -> tuple[str, ...]:
    """Return the valid answer nearest to ``answer``; the same for the same arguments.

    First what must be included, then what was preferred and offered, then the rest in order
    of ids. It is shorter than asked for only where fewer devices were offered.
    """
    offered = {*request.available, *request.must_include}
    preferred = (id_ for id_ in answer if id_ in offered)
    order = dict.fromkeys((*sorted(request.must_include), *preferred, *sorted(offered)))
    return tuple(order)[: request.size]


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids))
