"""Finds the device nodes of the driver and of what works beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from functools import cached_property

from msgspec import structs

from agent.model.inventory import FeatureNodes
from agent.model.machine import Machine
from agent.model.mig import GpuInstance, Partition

# What every CUDA program opens beside its GPU's own node, in the driver's order.
CONTROL_NODES = (
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-modeset",
)


CAPABILITY_FOLDER = "/dev/nvidia-caps"
# The driver's table of capability minors: a line for each instance there could ever be.
_MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"
_ACCESS = re.compile(r"^(gpu\d+/gi\d+(?:/ci\d+)?)/access (\d+)$", re.MULTILINE)


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

    def with_access(self, partition: Partition, minor: int | None) -> Partition:
        """Return how a GPU is divided, with the nodes that open its instances, if they exist."""
        if minor is None:
            return partition
        found = (self._opened(instance, f"gpu{minor}") for instance in partition.instances)
        return structs.replace(partition, instances=tuple(found))

    def _opened(self, instance: GpuInstance, gpu: str) -> GpuInstance:
        name = f"{gpu}/gi{instance.id}"
        compute = tuple(
            dataclasses.replace(each, access_node=self._access_node(f"{name}/ci{each.id}"))
            for each in instance.compute
        )
        return dataclasses.replace(instance, compute=compute, access_node=self._access_node(name))

    def _access_node(self, name: str) -> str | None:
        number = self._capabilities.get(name)
        node = f"{CAPABILITY_FOLDER}/nvidia-cap{number}"
        return node if number is not None and self._exists(node) else None

    @cached_property
    def _capabilities(self) -> dict[str, str]:
        try:
            table = self._machine.path(_MIG_MINORS).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        return dict(_ACCESS.findall(table))

    def _matching(self, folder: str, pattern: str) -> tuple[str, ...]:
        """Return the nodes of a folder by name, 2 before 10."""
        found = self._machine.path(self._dev_root + folder).glob(pattern)
        names = sorted((path.name for path in found if not path.is_dir()), key=_by_number)
        return tuple(f"{folder}/{name}" for name in names)

    def _exists(self, node: str) -> bool:
        return self._machine.path(self._dev_root + node).exists()


def capability_nodes(machine: Machine, dev_root: str) -> tuple[str, ...]:
    """Return what there is in the folder of capability nodes, by name."""
    folder = machine.path(dev_root.rstrip("/") + CAPABILITY_FOLDER)
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except OSError:
        return ()


def _by_number(name: str) -> tuple[int, str]:
    return len(name), name
