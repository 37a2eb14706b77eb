"""Finds and loads the driver library, once per process."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from types import TracebackType
from typing import Self

import pynvml

from agent.discovery import faults
from agent.model.errors import HardwareError, NoDriverError
from agent.model.machine import NVML_SONAME, Machine

# Where distributions put the library below a driver root, as the container toolkit looks.
LIBRARY_FOLDERS = (
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib",
    "opt/nvidia/lib64",
)


def find_library(driver_root: Path) -> str:
    """Return the driver library below a driver root, or its SONAME for the loader to find."""
    for folder in LIBRARY_FOLDERS:
        candidate = driver_root / folder / NVML_SONAME
        if candidate.exists():
            return str(candidate)
    return NVML_SONAME


class Session:
    """An initialised NVML. Close it (or leave the ``with`` block) to shut NVML down.

    Raises NoDriverError when there is no driver, HardwareError when it refuses to start.
    """

    def __init__(self, machine: Machine) -> None:
        """Load the machine's library and initialise NVML."""
        self.machine = machine
        self._library = _load(machine)
        with faults.translated("starting NVML"):
            pynvml.nvmlInit()
        if pynvml.nvmlLib._handle != self._library._handle:  # noqa: SLF001 - the only witness of which library answers
            pynvml.nvmlShutdown()
            raise HardwareError(
                f"this process already talks to another driver library than"
                f" {machine.nvml_library}; look at each machine from a process of its own"
            )

    def close(self) -> None:
        """Shut NVML down. A driver that is gone by now is no reason to fail."""
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Shut NVML down."""
        self.close()


def _load(machine: Machine) -> ctypes.CDLL:
    # pynvml asks the loader for the SONAME; a library of that SONAME that is already in the
    # process is what the loader then returns. So loading ours first is all it takes.
    try:
        return ctypes.CDLL(machine.nvml_library)
    except OSError as error:
        raise NoDriverError(
            f"no NVIDIA driver library {machine.nvml_library} ({error});"
            f" install the driver, or name a simulated machine with --machine DIR"
        ) from error
