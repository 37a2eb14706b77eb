"""Resets one GPU through nvidia-smi: NVML has no call for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from agent.discovery.library import Session
from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.partition.programs import SMI, run_program

Reset: TypeAlias = Callable[[str], None]
"""Resets the GPU of a UUID. Raises HardwareError with what nvidia-smi said."""

# A reset takes seconds; with NVSwitches in between up to a minute.
_LONGEST_S = 180.0


def resetting(session: Session) -> Reset:
    """Return a Reset for a process whose only hold on the driver is this session."""

    def reset(uuid: str) -> None:
        session.close()
        try:
            reset_gpu(session.machine, uuid)
        finally:
            session.reopen()

    return reset


def reset_gpu(machine: Machine, uuid: str) -> None:
    """Reset one GPU. Nothing of this process may hold the driver open meanwhile.

    Raises HardwareError with what nvidia-smi said.
    """
    try:
        run_program(machine, SMI, ["--gpu-reset", f"--id={uuid}"], longest_s=_LONGEST_S)
    except HardwareError as error:
        raise HardwareError(f"resetting {uuid}: {error}") from error
