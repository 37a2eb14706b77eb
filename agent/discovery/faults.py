"""Translates NVML's return codes into the agent's errors: the one table for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import pynvml

from agent.model.errors import HardwareError, NoDriverError

P = ParamSpec("P")
T = TypeVar("T")

# "This GPU or driver has no such thing": an absent fact, not a fault.
ABSENT = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    }
)

# "There is no driver to ask."
NO_DRIVER = frozenset(
    {
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)

# After these no further question to the same GPU is worth asking.
LOST = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}) | NO_DRIVER

ADVICE = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "it has fallen off the bus: see the kernel log, reset or"
    " reboot the node",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "load the kernel module (modprobe nvidia)",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was upgraded under the running"
    " kernel module: reload the module or reboot, and restart this agent",
    pynvml.NVML_ERROR_NO_PERMISSION: "run as root or give the container the device nodes",
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "install the driver, or set the driver root",
}


def explain(error: pynvml.NVMLError) -> str:
    """Return what NVML said and, where there is one, what to do about it."""
    advice = ADVICE.get(error.value)
    return f"{error}; {advice}" if advice else str(error)


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Raise HardwareError (or NoDriverError) naming ``action`` for whatever NVML raises inside."""
    try:
        yield
    except pynvml.NVMLError as error:
        kind = NoDriverError if error.value in NO_DRIVER else HardwareError
        raise kind(f"{action}: {explain(error)}") from error


def optional(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return what the call returns, or None where this GPU or driver has no such fact."""
    try:
        return call(*args, **kwargs)
    except pynvml.NVMLError as error:
        if error.value in ABSENT:
            return None
        raise


class Questions:
    """Asks one GPU for facts it can do without, and remembers the answers that were odd."""

    def __init__(self) -> None:
        """Start with no oddities."""
        self.oddities: list[str] = []

    def ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the fact, or None. Raises NVMLError only when the GPU itself is gone.

        An absent fact is nothing to speak of; any other refusal is an oddity worth a warning,
        but no reason to do without the GPU.
        """
        try:
            return optional(call, *args, **kwargs)
        except pynvml.NVMLError as error:
            if error.value in LOST:
                raise
            self.oddities.append(f"{getattr(call, '__name__', 'a call')} answers: {error}")
            return None
