"""Finds and loads the driver library, once per process."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from types import TracebackType
from typing import Self

import pynvml

from agent.discovery import faults
from agent.model.errors import ConfigError, HardwareError, NoDriverError
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


def find_library(driver_root: Path) -> Path | None:
    """Return the driver library below a driver root; None when there is none."""
    candidates = (driver_root / folder / NVML_SONAME for folder in LIBRARY_FOLDERS)
    return next((path for path in candidates if path.exists()), None)


def simulated_machine(folder: Path) -> Machine:
    """Return the simulated machine in a folder. Raises ConfigError saying what is there instead."""
    if not (folder / "state").is_file():
        what = "is not a simulated machine (no state file)" if folder.is_dir() else "does not exist"
        raise ConfigError(
            f"--machine: {folder} {what}; make one with: plumbline machine create dgx-h100 {folder}"
        )
    return Machine.simulated(folder)


class Session:
    """An initialised NVML. Close it (or leave the ``with`` block) to shut NVML down.

    Raises NoDriverError when there is no driver, HardwareError when it refuses to start.
    """

    def __init__(self, machine: Machine) -> None:
        """Find and load the machine's library and initialise NVML."""
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
        self._file = _loaded_file()
        self._identity = self._file and _identity(self._file)

    @property
    def is_replaced(self) -> bool:
        """True when another library stands where ours was loaded from.

        What is loaded cannot be exchanged in a running process. A library that is merely gone
        may be one that is just being unpacked.
        """
        if self._file is None or self._identity is None:
            return False
        return _identity(self._file) not in {None, self._identity}

    def close(self) -> None:
        """Shut NVML down. A driver that is gone by now is no reason to fail."""
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def reopen(self) -> None:
        """Start NVML again after ``close``. Raises as the constructor does."""
        with faults.translated("starting NVML"):
            pynvml.nvmlInit()

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
    found = None if machine.driver_root is None else find_library(machine.driver_root)
    name = machine.nvml_library if found is None else str(found)
    # pynvml asks the loader for the SONAME; a library of that SONAME that is already in the
    # process is what the loader then returns. So loading ours first is all it takes.
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        root = "" if machine.driver_root is None else f" below {machine.driver_root} nor"
        raise NoDriverError(
            f"no NVIDIA driver library {name}{root} on the loader's path ({error});"
            f" install the driver, or name a simulated machine with --machine DIR"
        ) from error


def _loaded_file() -> Path | None:
    """Return the name under which the library in this process was found (proc(5), maps)."""
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            # address perms offset dev inode path; the path is that of the versioned file
            path = Path(line.split(maxsplit=5)[-1].rstrip("\n"))
            if path.name.startswith("libnvidia-ml.so"):
                return path.parent / NVML_SONAME
    return None


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
