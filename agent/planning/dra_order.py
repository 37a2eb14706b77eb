"""In which order devices are listed: the scheduler takes the first that fit. Pure.

So the first two free GPUs are to be the best pair of those that are free, the first four the
best four around it, and so on. Claims for one GPU then use up one pair before they break
another. One order cannot be the best for every size: on a node that is partly taken the best pair
may be what is left of a broken four, and a claim for four is to say what they must have in common
(``matchAttribute``) if it wants the four that are still whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from agent.planning.dra_devices import Offering
from agent.planning.placement import PlacementTable, Request


def listed_order(
    table: PlacementTable, uuids: Iterable[str], free: Iterable[str]
) -> tuple[str, ...]:
    """Return GPUs in the order in which they are to be listed: free ones first."""
    everything = tuple(uuids)
    left = tuple(uuid for uuid in everything if uuid in set(free))
    chosen: list[str] = []
    size = 2
    while len(chosen) < len(left):
        request = Request(
            available=left,
            must_include=tuple(chosen),
            size=min(size, len(left)),
            free=left,
        )
        found = set(table.choose(request).devices)
        chosen += [uuid for uuid in left if uuid in found and uuid not in chosen]
        size *= 2
    return (*chosen, *(uuid for uuid in everything if uuid not in set(chosen)))


def kept_order(fresh: Offering, published: Offering) -> Offering:
    """Return an offering in the order that is published, where that is as good.

    It is where the devices are the same and those that are free come in the wanted order: where
    those that claims have stand is nobody's business.
    """
    by_name = {each.name: each for each in fresh.devices}
    before = [each.name for each in published.devices]
    if by_name.keys() != set(before):
        return fresh
    wanted = [name for name in by_name if name not in fresh.allocated]
    if [name for name in before if name not in fresh.allocated] != wanted:
        return fresh
    return replace(fresh, devices=tuple(by_name[name] for name in before))


def differs_in_order(fresh: Offering, published: Offering) -> bool:
    """Return True when two offerings are the same but for the order of their devices."""
    here, there = ({each.name: each for each in one.devices} for one in (fresh, published))
    return here == there and fresh.devices != published.devices
