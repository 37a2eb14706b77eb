"""Tells the driver how long turns on a GPU last, and that nobody cares any more.

``nvidia-smi compute-policy --set-timeslice`` is the only door there is; the driver forgets it
with the boot. What was set is written down before, so that it is taken back after a crash too.
"""

from __future__ import annotations

from pathlib import Path

from agent.config.sharing import TimeSlice
from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.partition.programs import SMI, run_program
from agent.partition.written import forget, read_words, write_down

OF_CONFIGURATION = "/var/lib/plumbline/time-slices"
OF_CLAIMS = "/var/lib/plumbline/claim-time-slices"
"""Apart: what the configuration does not want is put back."""

# nvidia-smi's numbers for them.
NUMBERS = {
    TimeSlice.DEFAULT: 0,
    TimeSlice.SHORT: 1,
    TimeSlice.MEDIUM: 2,
    TimeSlice.LONG: 3,
}
# It opens every GPU of the node first.
_LONGEST_S = 60.0


class TimeSlices:
    """The time slices of one machine's GPUs that this agent has set."""

    def __init__(self, machine: Machine, folder: str = OF_CONFIGURATION) -> None:
        """Remember the machine, and where is written down what was set."""
        self._machine = machine
        self._folder = machine.path(folder)

    def written(self) -> dict[str, str]:
        """Return what was set, or was about to be, by UUID. Raises HardwareError."""
        return read_words(self._folder)

    def set(self, gpu: str, time_slice: TimeSlice) -> None:
        """Set the time slice of a GPU. Raises HardwareError with what nvidia-smi said."""
        write_down(self._path(gpu), time_slice.value.encode())
        self._tell(gpu, time_slice)

    def put_back(self, gpu: str, to: TimeSlice = TimeSlice.DEFAULT) -> None:
        """Return a GPU to the driver's own time slice, or to another. Raises HardwareError."""
        self._tell(gpu, to)
        self.forget(gpu)

    def forget(self, gpu: str) -> None:
        """Forget what was set, without the driver. Raises HardwareError."""
        forget(self._path(gpu))

    def _path(self, gpu: str) -> Path:
        return self._folder / gpu

    def _tell(self, gpu: str, time_slice: TimeSlice) -> None:
        number = NUMBERS[time_slice]
        arguments = ["compute-policy", f"--id={gpu}", f"--set-timeslice={number}"]
        try:
            run_program(self._machine, SMI, arguments, longest_s=_LONGEST_S)
        except HardwareError as error:
            raise HardwareError(
                f"setting the time slice of {gpu} to {time_slice.value}: {error}"
            ) from error
