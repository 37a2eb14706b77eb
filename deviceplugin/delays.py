"""How long to wait between attempts, and for what: every interval of this package."""

from __future__ import annotations

import random

from msgspec import Struct


class Timing(Struct, frozen=True, kw_only=True):
    """Intervals in seconds."""

    register_timeout_s: float = 10.0
    """How long the kubelet may take to answer Register: it dials back before it answers, and
    gives that 10 seconds itself."""
    stream_wait_s: float = 1.5
    """How long after Register the kubelet may take to open its stream; it opens it at once."""
    retry_first_s: float = 0.2
    """The first retry waits half to all of this; each further one up to twice as long."""
    retry_cap_s: float = 10.0
    stable_s: float = 1.0
    """A stream that lived this long makes the next retry a first one again."""
    poll_s: float = 30.0
    """The directory is looked at this often even if no change was reported."""
    quiet_s: float = 2.0
    """How long the kubelet must have been still before a device leaves the list: far longer
    than it takes from our answer to Allocate to its own books, even on a starved node."""
    drain_s: float = 1.0
    """How much longer a resource that goes waits for a kubelet that does not read."""


class Delays:
    """Growing, jittered delays: resources that failed together do not retry together."""

    def __init__(self, timing: Timing) -> None:
        """Start with the first delay."""
        self._timing = timing
        self._next_s = timing.retry_first_s

    def next_s(self) -> float:
        """Return how long to wait now, and grow."""
        longest = self._next_s
        self._next_s = min(2 * longest, self._timing.retry_cap_s)
        return random.uniform(longest / 2, longest)  # noqa: S311  # spreads load, hides nothing

    def reset(self) -> None:
        """Start over."""
        self._next_s = self._timing.retry_first_s
