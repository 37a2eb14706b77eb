"""Writes the locality file: distances that contradict sysfs (docs/locality.md)."""

from __future__ import annotations

from collections.abc import Sequence

from agent.simulation.spec import DistanceOverride


def render(overrides: Sequence[DistanceOverride]) -> bytes:
    """Return the file's text, one pair a line."""
    lines = [
        f'- {{devices: ["{stated.a}", "{stated.b}"], distance: {stated.distance}}}'
        for stated in overrides
    ]
    return "\n".join(("version: v1", "distances:", *lines, "")).encode()
