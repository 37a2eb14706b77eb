"""When what failed is tried again: less and less often."""

from __future__ import annotations

import asyncio

BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)


class BackOff:
    """Counts failures; needs a running event loop, for its clock."""

    def __init__(self) -> None:
        """Begin without a failure."""
        self.failures = 0
        self._again_s = 0.0

    @property
    def waits(self) -> bool:
        """Return True while it is too early."""
        return _now_s() < self._again_s

    def failed(self) -> None:
        """Take in a failure."""
        self._again_s = _now_s() + BACK_OFF_S[min(self.failures, len(BACK_OFF_S) - 1)]
        self.failures += 1

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures, self._again_s = 0, 0.0


def _now_s() -> float:
    return asyncio.get_running_loop().time()
