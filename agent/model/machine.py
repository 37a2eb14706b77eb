"""The Machine: the one seam between the agent and the node it runs on (DESIGN section 2)."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

NVML_SONAME = "libnvidia-ml.so.1"


class Machine(Struct, frozen=True, kw_only=True):
    """A root folder holding ``sys``, ``proc`` and ``dev``, and the driver library to load.

    The live machine is root ``/`` and the loader's library; a simulated machine is a folder
    made by ``plumbline machine create``. Nothing in the agent asks which of the two it is.
    """

    root: Path
    nvml_library: str
    """What ``dlopen`` is given: a bare SONAME (the loader's search path) or an absolute path."""
    driver_root: Path | None = None
    """Where the library is looked for first, each time NVML is started: a driver container may
    fill it long after we began."""

    @classmethod
    def live(cls, driver_root: Path | None = None) -> Machine:
        """Return the node this process runs on."""
        return cls(root=Path("/"), nvml_library=NVML_SONAME, driver_root=driver_root)

    @classmethod
    def simulated(cls, folder: Path) -> Machine:
        """Return the simulated machine in ``folder``."""
        root = folder.resolve()
        return cls(root=root, nvml_library=str(root / "lib" / NVML_SONAME))

    def path(self, absolute: str) -> Path:
        """Return where a path of the node lies for this process: ``/dev/nvidia0`` in ``root``."""
        return self.root / absolute.lstrip("/")

    @property
    def locality_file(self) -> Path:
        """Return the operator's locality override, honoured where the platform's tables lie."""
        return self.path("/etc/plumbline/locality.yaml")
