"""Which GPUs are taken over for MPS: written down before, put back after.

A record lies on the disk from before a compute mode is changed until after it is put back: it
outlives a crash, and a reboot, after which pods that are started again look for their daemon.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pynvml
from msgspec import Struct

from agent.discovery.faults import translated
from agent.discovery.library import Session
from agent.model.errors import BusyError, HardwareError
from agent.model.machine import Machine
from agent.partition.compute_mode import (
    EXCLUSIVE,
    PROHIBITED,
    compute_mode,
    says_gone,
    set_compute_mode,
)
from agent.partition.written import forget, read_file, read_files, write_down
from agent.planning.mps import MpsSet
from agent.planning.mps_steps import Taken
from agent.telemetry import logs

OF_CONFIGURATION = "/var/lib/plumbline/mps"
OF_CLAIMS = "/var/lib/plumbline/claim-mps"
"""Apart: what the configuration does not want ends, and claims have sets of their own."""
_VERSION = 1


class _Record(Struct, frozen=True, kw_only=True):
    version: int
    taken: Taken
    limited: bool


class MpsSets:
    """The sets of one machine. Every call may block; those that say so speak with the driver."""

    def __init__(self, machine: Machine, folder: str = OF_CONFIGURATION) -> None:
        """Remember the machine, and where its records lie."""
        self._machine = machine
        self._folder = machine.path(folder)

    def read(self) -> tuple[tuple[tuple[Taken, bool], ...], tuple[str, ...]]:
        """Return what is taken over, and whether its daemon was told the limits; and faults.

        A fault is what is wrong with a record that cannot be read. Raises HardwareError when the
        folder cannot be read.
        """
        found, faults = [], []
        for name, content in read_files(self._folder).items():
            try:
                record = _decoded(self._folder / name, content)
                found.append((record.taken, record.limited))
            except HardwareError as error:
                faults.append(str(error))
        return tuple(found), tuple(faults)

    def find(self, name: str) -> Taken | None:
        """Return the set of a name; None where none is taken over. Raises HardwareError."""
        path = self._path(name)
        content = read_file(path)
        return None if content is None else _decoded(path, content).taken

    def take(self, mps_set: MpsSet) -> Taken:
        """Take the GPUs of a set over, with the driver; all of them, or none.

        Modes that a record of this set has are those that the GPUs had before. Raises BusyError
        when a program computes on one of them or none may, HardwareError also for a record that
        cannot be read: what the GPUs have now may be what an earlier instance gave them.
        """
        before = self._modes_before(mps_set)
        with Session(self._machine):
            for gpu in mps_set.exclusive:
                _refuse_busy(gpu)
            now = {gpu: _usable_mode(gpu) for gpu in mps_set.exclusive}
            taken = Taken(set=mps_set, modes={**now, **before})
            self.record(taken, limited=False)
            try:
                self._make_exclusive(taken)
            except HardwareError:
                # All of them or none: nobody serves a set that is half taken over.
                with contextlib.suppress(HardwareError):
                    self.release(taken)
                raise
        return taken

    def hold(self, taken: Taken) -> None:
        """See that GPUs are as they are to be, with the driver. Raises HardwareError."""
        with Session(self._machine):
            self._make_exclusive(taken)

    def release(self, taken: Taken) -> None:
        """Put back what the GPUs of a set were, with the driver. Raises HardwareError."""
        with Session(self._machine):
            for gpu, mode in taken.modes.items():
                _put_back(gpu, mode)
        forget(self._path(taken.set.name))

    def record(self, taken: Taken, *, limited: bool) -> None:
        """Write down a set, and whether its daemon was told the limits. Raises HardwareError."""
        record = _Record(version=_VERSION, taken=taken, limited=limited)
        write_down(self._path(taken.set.name), msgspec.json.encode(record))

    def _modes_before(self, mps_set: MpsSet) -> Mapping[str, int]:
        """Return what a record says of the GPUs; nothing without one. Raises HardwareError."""
        taken = self.find(mps_set.name)
        return {} if taken is None else taken.modes

    def _path(self, name: str) -> Path:
        return self._folder / (name.replace("/", "+") + ".json")

    def _make_exclusive(self, taken: Taken) -> None:
        for gpu in taken.set.exclusive:
            set_compute_mode(gpu, EXCLUSIVE)


def _refuse_busy(gpu: str) -> None:
    with translated(f"looking what computes on {gpu}"):
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu)
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    if processes:
        listed = ", ".join(str(each.pid) for each in processes)
        raise BusyError(f"its MPS daemon starts once these processes have ended: {listed}")


def _put_back(gpu: str, mode: int) -> None:
    try:
        set_compute_mode(gpu, mode)
    except HardwareError as error:
        if not says_gone(error):
            raise
        # What is not there has no mode, and comes back from a reset with the driver's own.
        logs.warning("compute_mode_lost", gpu=gpu, reason=error)


def _usable_mode(gpu: str) -> int:
    mode = compute_mode(gpu)
    if mode == PROHIBITED:
        raise BusyError(
            f"{gpu} has the compute mode PROHIBITED, which somebody wants; set another with"
            " nvidia-smi -c"
        )
    return mode


def _decoded(path: Path, content: bytes) -> _Record:
    """Return what a record says. Raises HardwareError."""
    try:
        return msgspec.json.decode(content, type=_Record)
    except msgspec.DecodeError as error:
        raise HardwareError(
            f"{path}: {error}; it says which compute modes to put back: look at them with"
            " nvidia-smi -q -d COMPUTE, set them, and remove the file"
        ) from error
