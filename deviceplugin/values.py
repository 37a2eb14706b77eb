"""The plain values that pass between the kubelet's door and whoever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One allocatable device of a resource."""

    id: str
    healthy: bool
    numa_nodes: tuple[int, ...] = ()
    """NUMA nodes the kubelet may align to; empty means no preference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host path mounted into a container."""

    container_path: str
    host_path: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A device node passed into a container, past the runtime's device cgroup."""

    container_path: str
    host_path: str
    permissions: str
    """Any of ``r``, ``w`` and ``m`` (mknod), as in ``rw``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerAllocation:
    """What the runtime must do for one container that was given devices."""

    envs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()
    """Fully qualified CDI names, ``vendor.com/class=name``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceRequest:
    """Which ``size`` devices of ``available`` would be best, ``must_include`` among them.

    Both lists arrive sorted: the kubelet sends them in random order, and an answer must not
    depend on it.
    """

    available: tuple[str, ...]
    must_include: tuple[str, ...]
    size: int
