"""Finds the device nodes of the driver and of what works beside it."""

from __future__ import annotations

import contextlib

from agent.model.inventory import FeatureNodes
from agent.model.machine import Machine

# What every CUDA program opens beside its GPU's own node, in the driver's order.
CONTROL_NODES = (
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-modeset",
)


class DeviceNodes:
    """The device nodes of one machine, whose ``/dev`` lies below ``dev_root``."""

    def __init__(self, machine: Machine, dev_root: str) -> None:
        """Look at ``<machine root>/<dev_root>/dev``."""
        self._machine = machine
        self._dev_root = dev_root.rstrip("/")

    def control_nodes(self) -> tuple[str, ...]:
        """Return the control nodes that exist."""
        return tuple(node for node in CONTROL_NODES if self._exists(node))

    def drm_nodes(self, address: str) -> tuple[str, ...]:
        """Return a GPU's graphics nodes (``/sys/bus/pci/devices/<address>/drm``) that exist."""
        folder = self._machine.path(f"/sys/bus/pci/devices/{address}/drm")
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError:
            # Most data-centre nodes run without nvidia-drm.
            return ()
        return tuple(node for node in (f"/dev/dri/{name}" for name in names) if self._exists(node))

    def verbs_nodes(self) -> dict[str, str]:
        """Return the node of every RDMA device by the device's name, where it exists.

        ``/sys/class/infiniband_verbs/uverbs<n>/ibdev`` holds that name.
        """
        folder = self._machine.path("/sys/class/infiniband_verbs")
        found: dict[str, str] = {}
        for entry in folder.glob("uverbs*"):
            node = f"/dev/infiniband/{entry.name}"
            with contextlib.suppress(OSError):
                name = (entry / "ibdev").read_text(encoding="utf-8", errors="replace").strip()
                if self._exists(node):
                    found[name] = node
        return found

    def feature_nodes(self) -> FeatureNodes:
        """Return the nodes of GPUDirect Storage, of RDMA and of GDRCopy that exist."""
        return FeatureNodes(
            gds=self._matching("/dev", "nvidia-fs*"),
            mofed=(
                *self._matching("/dev/infiniband", "uverbs*"),
                *self._matching("/dev/infiniband", "rdma_cm"),
            ),
            gdrcopy=self._matching("/dev", "gdrdrv"),
        )

    def _matching(self, folder: str, pattern: str) -> tuple[str, ...]:
        """Return the nodes of a folder by name, 2 before 10."""
        found = self._machine.path(self._dev_root + folder).glob(pattern)
        names = sorted((path.name for path in found if not path.is_dir()), key=_by_number)
        return tuple(f"{folder}/{name}" for name in names)

    def _exists(self, node: str) -> bool:
        return self._machine.path(self._dev_root + node).exists()


def _by_number(name: str) -> tuple[int, str]:
    return len(name), name
