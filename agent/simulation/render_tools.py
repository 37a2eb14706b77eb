"""Renders the driver's tools: they do what the agent asks the real ones for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

from agent.simulation.entries import Entry, File

_PYTHON = f"exec {shlex.quote(sys.executable)} -m agent.simulation"


def render() -> Iterator[Entry]:
    """Yield usr/bin."""
    smi = f'#!/bin/sh\n{_PYTHON}.smi "$(dirname "$0")/../.." "$@"\n'
    yield File("usr/bin/nvidia-smi", smi.encode(), executable=True)
    mps = f'#!/bin/sh\n{_PYTHON}.mps_control "$@"\n'
    yield File("usr/bin/nvidia-cuda-mps-control", mps.encode(), executable=True)
