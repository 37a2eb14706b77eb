"""Finds and runs the driver's own programs: what NVML has no call for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.discovery.library import find_library
from agent.model.errors import HardwareError
from agent.model.machine import Machine

SMI = "nvidia-smi"
# Where the driver's packages and driver containers put them.
_FOLDERS = ("usr/bin", "usr/local/nvidia/bin", "bin", "opt/nvidia/bin")


def find_program(machine: Machine, name: str = SMI) -> Path | None:
    """Return a program of a machine's driver; None when there is none."""
    roots = [root for root in (machine.driver_root, machine.root) if root is not None]
    candidates = (root / folder / name for root in roots for folder in _FOLDERS)
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def need_program(machine: Machine, name: str) -> Path:
    """Return a program of a machine's driver. Raises HardwareError when there is none."""
    program = find_program(machine, name)
    if program is None:
        raise HardwareError(
            f"no {name} below {machine.driver_root or machine.root}; install the driver's tools,"
            " or set the driver root"
        )
    return program


def run_program(
    machine: Machine,
    name: str,
    arguments: Sequence[str] = (),
    *,
    longest_s: float,
    env: Mapping[str, str] | None = None,
    told: str = "",
) -> str:
    """Return what a program of the driver printed; ``told`` is what it is told on its input.

    Raises HardwareError with what it said when it is not there, fails or takes longer.
    """
    program = need_program(machine, name)
    try:
        done = subprocess.run(  # noqa: S603 - the driver's own program, no shell
            [str(program), *arguments],
            env={**environment(machine), **(env or {})},
            input=told,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=longest_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HardwareError(f"{program} gave no answer for {longest_s:g} s") from error
    except OSError as error:
        raise HardwareError(f"{program}: {error.strerror or error}") from error
    if done.returncode:
        said = " ".join((done.stderr + " " + done.stdout).split())
        raise HardwareError(f"{program} ended with {done.returncode}: {said or 'no message'}")
    return done.stdout


def environment(machine: Machine) -> dict[str, str]:
    """Return this process's environment, with the driver's library where it is found first."""
    library = None if machine.driver_root is None else find_library(machine.driver_root)
    folder = Path(machine.nvml_library).parent if library is None else library.parent
    if not folder.is_absolute():
        return dict(os.environ)
    before = os.environ.get("LD_LIBRARY_PATH")
    path = str(folder) if not before else f"{folder}:{before}"
    return os.environ | {"LD_LIBRARY_PATH": path}
