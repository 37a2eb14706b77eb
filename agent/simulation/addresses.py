"""PCI addresses as values."""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.model.errors import ConfigError

_ADDRESS = re.compile(
    r"(?:(?P<domain>[0-9a-fA-F]{4,8}):)?"
    r"(?P<bus>[0-9a-fA-F]{2}):(?P<device>[01][0-9a-fA-F])\.(?P<function>[0-7])"
)
_ROOT = re.compile(r"(?P<domain>[0-9a-fA-F]{4,8}):(?P<bus>[0-9a-fA-F]{2})")


class Address(NamedTuple):
    """Domain, bus, device and function; orders as the kernel enumerates."""

    domain: int
    bus: int
    device: int
    function: int

    def __str__(self) -> str:
        """Return ``dddd:bb:dd.f``."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function}"


def parse(text: str, *, domain: int, what: str) -> Address:
    """Return the address in ``text``, in ``domain`` where it names none; raise ConfigError."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ConfigError(f"{what}: '{text}' is no PCI address like 1b:00.0 or 0008:06:00.0")
    named = match["domain"]
    return Address(
        domain=domain if named is None else int(named, 16),
        bus=int(match["bus"], 16),
        device=int(match["device"], 16),
        function=int(match["function"]),
    )


def parse_root(text: str, *, what: str) -> tuple[int, int]:
    """Return domain and bus of a root complex ``dddd:bb``; raise ConfigError."""
    match = _ROOT.fullmatch(text)
    if match is None:
        raise ConfigError(f"{what}: '{text}' is no root complex like 0000:15")
    return int(match["domain"], 16), int(match["bus"], 16)
