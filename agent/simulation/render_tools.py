"""Renders the driver's tools: an nvidia-smi that does what the agent asks the real one for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

from agent.simulation.entries import Entry, File


def render() -> Iterator[Entry]:
    """Yield usr/bin."""
    command = f"exec {shlex.quote(sys.executable)} -m agent.simulation.smi"
    script = f'#!/bin/sh\n{command} "$(dirname "$0")/../.." "$@"\n'
    yield File("usr/bin/nvidia-smi", script.encode(), executable=True)
