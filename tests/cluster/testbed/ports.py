"""Ports on loopback that nobody listens on."""

from __future__ import annotations

import contextlib
import socket


def free(count: int) -> list[int]:
    """Return so many different ports, free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
