"""Shares the GPUs of one machine for claims: time slices, and MPS daemons that outlive us."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from agent.config.schema import Flags
from agent.config.sharing import TimeSlice
from agent.discovery.library import Session
from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.partition import mps_sets, time_slices
from agent.partition.compute_mode import compute_mode, says_gone
from agent.planning.mps import MpsSet, Rendezvous
from agent.telemetry import logs

if TYPE_CHECKING:
    from agent.partition.mps_daemon import MpsDaemon


class GpuSharer:
    """See Sharer; what was before is written down, apart from what the configuration does."""

    def __init__(self, machine: Machine, flags: Flags) -> None:
        """Remember the machine; ``flags`` are those of the start."""
        self._machine = machine
        self._flags = flags
        self._slices = time_slices.TimeSlices(machine, time_slices.OF_CLAIMS)
        self._sets = mps_sets.MpsSets(machine, mps_sets.OF_CLAIMS)

    def set_time_slice(self, gpu: str, time_slice: TimeSlice) -> None:
        """Set how long turns on a GPU last. Raises HardwareError."""
        before = self._slices.written().get(gpu)
        try:
            self._slices.set(gpu, time_slice)
        except HardwareError as error:
            # What was refused is not in force: there is nothing to put back, and no way to.
            if before is None and not _timed_out(error):
                self._slices.forget(gpu)
            raise

    def put_back_time_slice(self, gpu: str) -> None:
        """Return a GPU to the time slice of the configuration, or the driver's own.

        Nothing is done where none was set. Raises HardwareError.
        """
        if gpu not in self._slices.written():
            return
        configured = time_slices.TimeSlices(self._machine).written().get(gpu)
        to = TimeSlice.DEFAULT if configured is None else TimeSlice(configured)
        try:
            self._slices.put_back(gpu, to)
        except HardwareError as error:
            if not self._is_gone(gpu):
                raise
            # It comes back with the driver's own, and what ended does not wait for it.
            logs.warning("time_slice_lost", gpu=gpu, reason=error)
            self._slices.forget(gpu)

    def serve(self, mps_set: MpsSet) -> Rendezvous:
        """Have a daemon serve a set: the one that does, or a new one.

        Raises BusyError while a program computes on its GPUs, HardwareError.
        """
        taken = self._sets.find(mps_set.name)
        if taken is not None and not taken.set.is_like(mps_set):
            self.end(mps_set.name)
            taken = None
        if taken is None:
            taken = self._sets.take(mps_set)
        else:
            self._sets.hold(taken)
        daemon = self._daemon(taken.set)
        if daemon.control() is None:
            daemon.kill()
            daemon.start()
        elif (silence := daemon.answers()) is not None:
            # Clients of other claims may be connected, and would lose their work.
            raise HardwareError(f"{mps_set.name}: {silence}")
        daemon.limit()
        return daemon.rendezvous

    def end(self, name: str) -> None:
        """End the daemon of a set, and put back what its GPUs were. Raises HardwareError."""
        taken = self._sets.find(name)
        if taken is None:
            return
        self._daemon(taken.set).end()
        self._sets.release(taken)
        logs.event("mps_ended", set=name, gpus=taken.set.gpus)

    def revive(self, name: str) -> bool:
        """Start the daemon of a set anew where it has died; return whether it had.

        Raises HardwareError.
        """
        taken = self._sets.find(name)
        if taken is None or self._daemon(taken.set).control() is not None:
            return False
        self.serve(taken.set)
        return True

    def _daemon(self, mps_set: MpsSet) -> MpsDaemon:
        # Imported here: most nodes have no claims that share through MPS.
        from agent.partition.mps_daemon import MpsDaemon  # noqa: PLC0415

        return MpsDaemon(
            self._machine,
            mps_set,
            self._machine.path(self._flags.mps_folder),
            host_driver_root=self._flags.nvidia_driver_root,
        )

    def _is_gone(self, gpu: str) -> bool:
        with Session(self._machine):
            try:
                compute_mode(gpu)
            except HardwareError as error:
                return says_gone(error)
        return False


def _timed_out(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, subprocess.TimeoutExpired):
            return True
        error = error.__cause__
    return False
