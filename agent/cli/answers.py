"""A Placement in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said of an answer, as it is in JSON (docs/placement.md)."""
    why = answer["explanation"]
    yield f"GPUs {numbers(answer['gpus'])}"
    if answer["nics"]:
        yield f"NICs {' '.join(answer['nics'])}"
    if why["ring_gbps"] is not None:
        a, b = why["limiting_pair"]
        yield (
            f"ring {why['ring_gbps']} GB/s, slowest pair {why['min_pair_gbps']} GB/s"
            f" (GPU{a}-GPU{b}, {why['limiting_path']}: {why['limiting_path_in_words']}),"
            f" mean {why['mean_pair_gbps']:g} GB/s"
        )
    yield f"NUMA nodes {_known(why['numa_nodes'])}, sockets {_known(why['sockets'])}"
    if why["runner_up"] is not None:
        yield f"next best: GPUs {numbers(why['runner_up'])}, {_behind(why['lost_at'])}"
    left = ", ".join(
        f"{each['count']} of {each['size']} ({each['min_pair_gbps']} GB/s)" for each in why["left"]
    )
    yield f"left as good as on an empty node: {left or 'no set of two or more'}"
    if not answer["exact"]:
        yield "the search was cut short: there may be a better set"


def _behind(place: str | None) -> str:
    if place is None or place == "order":
        return "as good, and later in order"
    return f"behind in {place.replace('_', ' ')}"


def numbers(values: Sequence[int]) -> str:
    """Return numbers with blanks between, ``none`` for none."""
    return " ".join(map(str, values)) or "none"


def _known(values: Sequence[int]) -> str:
    return " ".join(map(str, values)) or "unknown"
