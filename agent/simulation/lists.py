"""The kernel's lists (``0-3,8``) and masks (``ff,00000000``)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from agent.model.errors import ConfigError

_LARGEST = 1 << 16
"""No kernel has more CPUs or nodes; a typing error must not eat the memory."""


def parse(text: str, *, what: str) -> tuple[int, ...]:
    """Return the numbers of a kernel list, ascending; raise ConfigError that names ``what``."""
    numbers: set[int] = set()
    for piece in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = piece.partition("-")
        if not (_is_number(first) and (_is_number(last) if dash else True)):
            raise ConfigError(f"{what}: '{text}' is no list of numbers and ranges like 0-3,8")
        low, high = int(first), int(last or first)
        if low > high or high >= _LARGEST:
            raise ConfigError(
                f"{what}: '{piece}' in '{text}' is no ascending range below {_LARGEST}"
            )
        numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def render(numbers: Iterable[int]) -> str:
    """Return numbers as the kernel prints them with %*pbl."""
    runs = itertools.groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])
    spans = ([number for _, number in run] for _, run in runs)
    return ",".join(str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)


def mask(numbers: Iterable[int], width: int) -> str:
    """Return numbers below ``width`` as the kernel prints a bitmap with %*pb.

    Groups of 32 bits from the highest, the first only as wide as it needs to be.
    """
    value = sum(1 << number for number in set(numbers))
    first = (width - 1) % 32 + 1
    groups = [f"{value >> (width - first):0{(first + 3) // 4}x}"]
    groups += [f"{value >> shift & 0xFFFFFFFF:08x}" for shift in range(width - first - 32, -1, -32)]
    return ",".join(groups)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
