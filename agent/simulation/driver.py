"""The control door of a simulated driver (docs/simulated-machine.md): commands and descriptions."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.model.errors import ConfigError, HardwareError
from agent.model.machine import NVML_SONAME

_ERROR_SIZE = 1024
_DESCRIPTION_SIZE = 1 << 16


class Driver:
    """The driver of the simulated machine in one folder. Close it, or leave the ``with`` block.

    The loader hands a program that asks for ``libnvidia-ml.so.1`` the first library of that name
    in the process: one that stays loaded would answer for a machine it does not belong to.
    """

    def __init__(self, folder: Path) -> None:
        """Load ``<folder>/lib/libnvidia-ml.so.1``; raise ConfigError where there is none."""
        self.folder = folder.resolve()
        library = self.folder / "lib" / NVML_SONAME
        if not library.is_file():
            raise ConfigError(
                f"{folder} is no simulated machine: it has no lib/{NVML_SONAME}; "
                "'plumbline machine create PROFILE DIR' makes one"
            )
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise HardwareError(f"{library}: {error}; make the machine anew") from error
        if not hasattr(self._library, "plumbline_machine_create"):
            self.close()
            raise ConfigError(
                f"{library} is no simulated driver: a simulated machine is made by "
                "'plumbline machine create'"
            )

    def close(self) -> None:
        """Unload the library, unless somebody else in this process has loaded it too."""
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(self._library._handle))  # noqa: SLF001 - ctypes has no other door

    def __enter__(self) -> Self:
        """Return the driver itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unload the library."""
        self.close()

    def create(self, description: str) -> None:
        """Make the driver's state from a description; raise HardwareError where it refuses."""
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        size = ctypes.c_size_t(len(error))
        if self._library.plumbline_machine_create(description.encode(), error, size):
            raise HardwareError(f"{self.folder}: the simulated driver refuses: {_text(error)}")

    def command(self, words: str) -> None:
        """Run one command; raise ConfigError with the driver's reason where it refuses."""
        if "\n" in words or "\0" in words:
            raise ConfigError(f"{words!r}: a command to the simulated driver is one line")
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        size = ctypes.c_size_t(len(error))
        if self._library.plumbline_machine_command(words.encode(), error, size):
            raise ConfigError(f"{self.folder}: '{words}': {_text(error)}")

    def describe(self) -> str:
        """Return the current facts as a description; raise HardwareError where it cannot."""
        size = _DESCRIPTION_SIZE
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = ctypes.c_size_t(size)
            error = ctypes.create_string_buffer(_ERROR_SIZE)
            failed = self._library.plumbline_machine_describe(
                buffer, ctypes.byref(needed), error, ctypes.c_size_t(len(error))
            )
            if not failed:
                return buffer.value.decode()
            if needed.value <= size:
                raise HardwareError(f"{self.folder}: {_text(error)}; make the machine anew")
            size = needed.value  # it may have grown again by the next call: hence the loop


def _text(error: ctypes.Array[ctypes.c_char]) -> str:
    return error.value.decode(errors="replace")
