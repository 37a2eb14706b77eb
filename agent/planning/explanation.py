"""Why a set was chosen: what every Placement can say of itself, in the words of the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cache

from msgspec import Struct

from agent.model.inventory import Distance

_PATH_WORDS: Mapping[str, str] = {
    Distance.PIX: "one PCIe switch",
    Distance.PXB: "several PCIe switches",
    Distance.PHB: "the PCIe host bridge",
    Distance.NODE: "the host bridges of one NUMA node",
    Distance.SYS: "the link between NUMA nodes",
}


class Left(Struct, frozen=True, kw_only=True):
    """What stays free for requests of one size."""

    size: int
    count: int
    """How many disjoint sets as good as the best of the whole node."""
    min_pair_gbps: int
    """Slowest pair of the best set left; 0 where none of the size is left."""
    gpus: tuple[str, ...]
    """That set."""


class Explanation(Struct, frozen=True, kw_only=True):
    """Why this set. GPUs are UUIDs, bandwidths GB/s in one direction."""

    key: Mapping[str, int]
    """What sets were compared by, in this order; larger is better."""
    ring_gbps: int | None
    """Slowest hop of the best ring through the set; None for fewer than two GPUs."""
    min_pair_gbps: int | None
    mean_pair_gbps: float | None
    numa_nodes: tuple[int, ...]
    sockets: tuple[int, ...]
    rails: tuple[str, ...]
    """Usable NICs beside the set."""
    limiting_pair: tuple[str, str] | None
    limiting_path: str | None
    """What joins that pair: ``NV18``, ``PIX``; in words by ``path_in_words``."""
    runner_up: tuple[str, ...] | None
    """The best set that was not chosen; None when there was no other."""
    lost_at: str | None
    """The first place of the key at which it lost."""
    left: tuple[Left, ...]
    exact: bool
    """No set is better; False when the search was cut short."""

    @property
    def left_words(self) -> str:
        """Return what stays free in a word, as ``2x4 1x8``."""
        return " ".join(f"{each.count}x{each.size}" for each in self.left) or "none"


def places(names: Sequence[str], values: Sequence[int]) -> dict[str, int]:
    """Return a key of the engine by name."""
    return dict(zip(names, values, strict=True))


def first_difference(names: Sequence[str], won: Sequence[int], lost: Sequence[int]) -> str | None:
    """Return the name of the first place at which two keys differ."""
    compared = zip(names, won, lost, strict=True)
    return next((name for name, a, b in compared if a != b), None)


@cache
def names_of(terms: tuple[IntEnum, ...]) -> tuple[str, ...]:
    """Return what the places of an engine's key are called."""
    return tuple(term.name.lower() for term in terms)


def path_in_words(path: str) -> str:
    """Return what joins two GPUs as a sentence has it: ``18 NVLinks`` for ``NV18``."""
    if path.startswith("NV"):
        count = path.removeprefix("NV")
        return f"{count} NVLink{'' if count == '1' else 's'}"
    return _PATH_WORDS.get(path, "a path that is not known")
