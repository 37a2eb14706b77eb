"""The plain values that pass between the kubelet's door and whoever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class Device(Struct, frozen=True, kw_only=True):
    """One allocatable device of a resource."""

    id: str
    healthy: bool
    numa_nodes: tuple[int, ...] = ()
    """NUMA nodes the kubelet may align to; empty means no preference."""


class Mount(Struct, frozen=True, kw_only=True):
    """A host path mounted into a container."""

    container_path: str
    host_path: str
    read_only: bool


class DeviceNode(Struct, frozen=True, kw_only=True):
    """A device node passed into a container, past the runtime's device cgroup."""

    container_path: str
    host_path: str
    permissions: str
    """Any of ``r``, ``w`` and ``m`` (mknod), as in ``rw``."""


class ContainerAllocation(Struct, frozen=True, kw_only=True):
    """What the runtime must do for one container that was given devices."""

    envs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()
    """Fully qualified CDI names, ``vendor.com/class=name``."""


class PreferenceRequest(Struct, frozen=True, kw_only=True):
    """Which ``size`` devices of ``available`` would be best, ``must_include`` among them.

    Both lists arrive sorted: the kubelet sends them in random order, and an answer must not
    depend on it.
    """

    available: tuple[str, ...]
    must_include: tuple[str, ...]
    size: int
