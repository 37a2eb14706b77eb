"""Who may compute on a GPU, and which MPS set took that over from whom."""

from __future__ import annotations

import pynvml

from agent.discovery.faults import translated
from agent.model.errors import HardwareError

EXCLUSIVE = pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
PROHIBITED = pynvml.NVML_COMPUTEMODE_PROHIBITED
WORDS = {
    pynvml.NVML_COMPUTEMODE_DEFAULT: "DEFAULT",
    PROHIBITED: "PROHIBITED",
    EXCLUSIVE: "EXCLUSIVE_PROCESS",
}


def compute_mode(gpu: str) -> int:
    """Return the compute mode of a GPU, as NVML numbers it. Raises HardwareError."""
    with translated(f"reading the compute mode of {gpu}"):
        return int(pynvml.nvmlDeviceGetComputeMode(pynvml.nvmlDeviceGetHandleByUUID(gpu)))


def says_gone(error: HardwareError) -> bool:
    """Return True when an error of these calls says that the GPU is not there any more."""
    return isinstance(error.__cause__, pynvml.NVMLError_NotFound | pynvml.NVMLError_GpuIsLost)


def set_compute_mode(gpu: str, mode: int) -> None:
    """Set the compute mode of a GPU, and look whether it has it. Raises HardwareError."""
    action = f"setting the compute mode of {gpu} to {WORDS.get(mode, mode)}"
    with translated(action):
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu)
        if pynvml.nvmlDeviceGetComputeMode(handle) == mode:
            return
        pynvml.nvmlDeviceSetComputeMode(handle, mode)
        if pynvml.nvmlDeviceGetComputeMode(handle) != mode:
            raise HardwareError(f"{action}: it is still another one")
