"""The best set of GPUs among those that have enough NICs beside them. Pure.

NICs are one place of the key, and bandwidth comes before them. Who asks for a number of NICs
would rather have them all than the fastest GPUs with too few.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

from msgspec.structs import replace

from agent.planning.placement import Placement, PlacementTable, Request

# Sets looked at one by one: every choice out of 16 GPUs.
_MOST_SETS = comb(16, 8)


def choose_with_nics(table: PlacementTable, request: Request) -> Placement:
    """Return the best set with ``request.rails`` NICs beside it, or else the best set.

    Out of more GPUs than can be gone through it is the best set in any case.
    """
    best = table.choose(request)
    if len(best.explanation.rails) >= request.rails:
        return best
    others = sorted(set(request.available) - set(request.must_include))
    missing = request.size - len(request.must_include)
    if comb(len(others), max(0, missing)) > _MOST_SETS:
        return best
    able = [
        (*request.must_include, *more)
        for more in combinations(others, missing)
        if _rails(table, (*request.must_include, *more)) >= request.rails
    ]
    if not able:
        return best
    placements = (
        table.choose(replace(request, available=each, must_include=(), free=request.available))
        for each in able
    )
    return max(placements, key=lambda placement: tuple(placement.explanation.key.values()))


def _rails(table: PlacementTable, uuids: tuple[str, ...]) -> int:
    return len({name for uuid in uuids for name in table.rails_of(uuid)})
