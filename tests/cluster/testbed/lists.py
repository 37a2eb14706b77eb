"""The kernel's way of writing a set of numbers."""

from __future__ import annotations


def parse_list(text: str) -> set[int]:
    """Return the numbers of a kernel list such as ``0-3,8``."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers
