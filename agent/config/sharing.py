"""``resources`` and ``sharing``: what devices are called, and how many share one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from agent.config.gpu_names import UUID, DeviceIndex, GpuNames, Pattern
from agent.config.section import Section

PREFIX = "nvidia.com/"
LONGEST_NAME = 63
"""Characters of a resource name with its prefix."""
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

# 63 characters with the prefix, as upstream; the prefix itself (11) may be left out.
ResourceName = Annotated[
    str,
    Meta(
        pattern=rf"^((?=.{{12,63}}\Z)nvidia\.com/|(?=.{{1,52}}\Z)){_LABEL}(\.{_LABEL})*\Z",
        description="a resource name of lower-case letters, digits, '-' and '.', of at most "
        "63 characters with its prefix nvidia.com/ (which may be left out)",
    ),
]

DeviceName = Annotated[
    str,
    Meta(
        pattern=rf"^([0-9]+(:[0-9]+)?|(GPU|MIG)-{UUID}|MIG-GPU-{UUID}/[0-9]+/[0-9]+)\Z",
        description="a GPU index, gpu:mig index, or a UUID",
    ),
]
DeviceCount = Annotated[int, Meta(ge=1)]
PerPod = Annotated[int, Meta(ge=1)]
Weight = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
Replicas = Annotated[int, Meta(ge=2, description="a whole number, 2 or more")]


MPS_MOST_CLIENTS = 60
"""Clients of one GPU under MPS since CUDA 13.1; 48 before (NVIDIA's MPS documentation)."""


def full_name(name: str) -> str:
    """Return a resource name with its prefix."""
    return name if name.startswith(PREFIX) else PREFIX + name


class Resource(Section, frozen=True, kw_only=True):
    """GPUs or MIG devices whose name fits ``pattern`` are offered as ``name``."""

    pattern: Pattern
    """Matched against the whole product name (GPU) or profile (MIG); the first fit wins."""
    name: ResourceName


class Resources(Section, frozen=True, kw_only=True):
    """``resources``. Empty lists mean the default: every GPU is ``nvidia.com/gpu``."""

    gpus: tuple[Resource, ...] = ()
    mig: tuple[Resource, ...] = ()


class TimeSlice(StrEnum):
    """How long a process computes before it is another one's turn, in the driver's words."""

    DEFAULT = "default"
    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


class SharedResource(Section, frozen=True, kw_only=True):
    """One resource whose devices are offered several times each."""

    name: ResourceName
    replicas: Replicas
    """How often each device is offered."""
    rename: ResourceName | None = None
    devices: Literal["all"] | DeviceCount | tuple[DeviceIndex | DeviceName, ...] | GpuNames = "all"
    """Which devices: all, the first so many, a list, or those of certain GPUs."""
    max_shared_per_pod: PerPod | None = None
    """How many Replicas a container may ask for. None: as many as there are, or one
    (``failRequestsGreaterThanOne``)."""
    distinct_gpus: bool = False
    """Refuse a container that asks for several Replicas and would get two of one device."""


class TimeSlicedResource(SharedResource, frozen=True, kw_only=True):
    """One resource whose devices take turns."""

    time_slice: TimeSlice | None = None
    """What the driver is told; None: it is left as it is."""


class MpsResource(SharedResource, frozen=True, kw_only=True):
    """One resource whose devices are shared through MPS."""

    weights: tuple[Weight, ...] | None = None
    """What each Replica of a device gets of it, in proportion; None: all the same."""


class _Shared(Section, frozen=True, kw_only=True):
    rename_by_default: bool = False
    """Offer shared devices as ``<name>.shared``."""
    fail_requests_greater_than_one: bool | None = None
    """Refuse a container that asks for several replicas, which would not give it more. None:
    false under time-slicing, true under MPS."""


class TimeSlicing(_Shared, frozen=True, kw_only=True):
    """``sharing.timeSlicing``."""

    resources: Annotated[
        tuple[TimeSlicedResource, ...],
        Meta(min_length=1, description="a list of at least one resource"),
    ]


class Mps(_Shared, frozen=True, kw_only=True):
    """``sharing.mps``."""

    resources: Annotated[
        tuple[MpsResource, ...],
        Meta(min_length=1, description="a list of at least one resource"),
    ]


SharedResources = TimeSlicing | Mps


class Sharing(Section, frozen=True, kw_only=True):
    """``sharing``: at most one of the two."""

    time_slicing: TimeSlicing | None = None
    mps: Mps | None = None

    @property
    def section(self) -> tuple[str, SharedResources] | None:
        """Return the one of the two that is in force, with its path; None: nothing is shared."""
        if self.mps is not None:
            return "sharing.mps", self.mps
        return None if self.time_slicing is None else ("sharing.timeSlicing", self.time_slicing)
