"""Work that an RPC leaves for later, so that the kubelet does not wait for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import ParamSpec

P = ParamSpec("P")

# Longer than the kubelet takes from a preference to Allocate, and nothing to people.
PAUSE_S = 0.005


class Afterwards:
    """Calls in the order in which they were left, a moment later, on the event loop."""

    def __init__(self) -> None:
        """Start with none."""
        self._calls: deque[Callable[[], None]] = deque()

    def do(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call later; errors go to the loop's exception handler."""
        if not self._calls:
            asyncio.get_running_loop().call_later(PAUSE_S, self.catch_up)
        self._calls.append(partial(call, *args, **kwargs))

    def catch_up(self) -> None:
        """Call what waits: when somebody wants to know now, or at the end."""
        while self._calls:
            self._calls.popleft()()
