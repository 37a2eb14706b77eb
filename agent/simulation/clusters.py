"""Groups devices that are within one distance of each other, directly or through others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.model.inventory import Distance

Relations = Mapping[frozenset[str], Distance]
"""Known distances by unordered pair of names."""

_ORDER = {distance: place for place, distance in enumerate(Distance)}


def components(
    names: Sequence[str], relations: Relations, within: Distance
) -> list[tuple[str, ...]]:
    """Return the groups in order of their first member, members in order of ``names``."""
    group_of = {name: {name} for name in names}
    for pair, distance in relations.items():
        a, b = pair
        if a not in group_of or b not in group_of or _ORDER[distance] > _ORDER[within]:
            continue
        if group_of[a] is not group_of[b]:
            merged = group_of[a] | group_of[b]
            group_of |= dict.fromkeys(merged, merged)
    seen: set[str] = set()
    groups: list[tuple[str, ...]] = []
    for name in names:
        if name not in seen:
            group = tuple(other for other in names if other in group_of[name])
            seen |= group_of[name]
            groups.append(group)
    return groups
