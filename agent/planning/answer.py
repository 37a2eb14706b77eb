"""A Placement as it is printed and recorded: plain facts, GPUs by the index people use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from agent.planning.explanation import Explanation, path_in_words
from agent.planning.placement import Placement


class Answer(Struct, frozen=True, kw_only=True):
    """GPUs are NVML indices, bandwidths GB/s in one direction (docs/placement.md)."""

    gpus: tuple[int, ...]
    uuids: tuple[str, ...]
    nics: tuple[str, ...]
    exact: bool
    explanation: Mapping[str, Any]


def answer_of(
    placement: Placement, index: Mapping[str, int], *, nics: Sequence[str] | None = None
) -> Answer:
    """Return what is said of a Placement.

    ``index`` has the NVML index of every GPU by UUID. ``nics`` are those chosen for it; None
    names all that stand beside it.
    """
    why = placement.explanation
    uuids = tuple(sorted(placement.gpus, key=lambda uuid: index.get(uuid, len(index))))
    return Answer(
        gpus=tuple(index[uuid] for uuid in uuids if uuid in index),
        uuids=uuids,
        nics=why.rails if nics is None else tuple(nics),
        exact=why.exact,
        explanation=_reasons(why, index),
    )


def _reasons(why: Explanation, index: Mapping[str, int]) -> dict[str, Any]:
    def indices(uuids: Iterable[str] | None) -> list[int] | None:
        return None if uuids is None else sorted(index[uuid] for uuid in uuids)

    return {
        "ring_gbps": why.ring_gbps,
        "min_pair_gbps": why.min_pair_gbps,
        "mean_pair_gbps": why.mean_pair_gbps,
        "numa_nodes": list(why.numa_nodes),
        "sockets": list(why.sockets),
        "limiting_pair": indices(why.limiting_pair),
        "limiting_path": why.limiting_path,
        "limiting_path_in_words": why.limiting_path and path_in_words(why.limiting_path),
        "runner_up": indices(why.runner_up),
        "lost_at": why.lost_at,
        "key": dict(why.key),
        "left": [
            {
                "size": each.size,
                "count": each.count,
                "min_pair_gbps": each.min_pair_gbps,
                "gpus": indices(each.gpus),
            }
            for each in why.left
        ],
    }
