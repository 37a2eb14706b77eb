"""Resets one GPU through nvidia-smi: NVML has no call for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from agent.discovery.library import Session, find_library
from agent.model.errors import HardwareError
from agent.model.machine import Machine

Reset: TypeAlias = Callable[[str], None]
"""Resets the GPU of a UUID. Raises HardwareError with what nvidia-smi said."""

PROGRAM = "nvidia-smi"
# Where the driver's packages and driver containers put it.
_FOLDERS = ("usr/bin", "usr/local/nvidia/bin", "bin", "opt/nvidia/bin")
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


def find_program(machine: Machine) -> Path | None:
    """Return the nvidia-smi of a machine's driver; None when there is none."""
    roots = [root for root in (machine.driver_root, machine.root) if root is not None]
    candidates = (root / folder / PROGRAM for root in roots for folder in _FOLDERS)
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def reset_gpu(machine: Machine, uuid: str) -> None:
    """Reset one GPU. Nothing of this process may hold the driver open meanwhile.

    Raises HardwareError with what nvidia-smi said.
    """
    program = find_program(machine)
    if program is None:
        raise HardwareError(
            f"resetting {uuid}: no {PROGRAM} below {machine.driver_root or machine.root};"
            " install the driver's tools, or set the driver root"
        )
    command = [str(program), "--gpu-reset", f"--id={uuid}"]
    try:
        done = subprocess.run(  # noqa: S603 - the driver's own program, no shell
            command,
            env=environment(machine),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HardwareError(f"resetting {uuid}: {error}") from error
    if done.returncode:
        said = " ".join((done.stderr + " " + done.stdout).split())
        raise HardwareError(
            f"resetting {uuid}: {program} ended with {done.returncode}: {said or 'no message'}"
        )


def environment(machine: Machine) -> dict[str, str]:
    """Return this process's environment, with the driver's library where it is found first."""
    library = None if machine.driver_root is None else find_library(machine.driver_root)
    folder = Path(machine.nvml_library).parent if library is None else library.parent
    if not folder.is_absolute():
        return dict(os.environ)
    before = os.environ.get("LD_LIBRARY_PATH")
    path = str(folder) if not before else f"{folder}:{before}"
    return os.environ | {"LD_LIBRARY_PATH": path}
