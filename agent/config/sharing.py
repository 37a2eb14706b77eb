"""``resources`` and ``sharing``: what devices are called, and how many share one."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

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

Pattern = Annotated[
    str, Meta(min_length=1, description="a pattern for a product name, where * stands for anything")
]

_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DeviceName = Annotated[
    str,
    Meta(
        pattern=rf"^([0-9]+(:[0-9]+)?|(GPU|MIG)-{_UUID}|MIG-GPU-{_UUID}/[0-9]+/[0-9]+)\Z",
        description="a GPU index, gpu:mig index, or a UUID",
    ),
]
DeviceIndex = Annotated[int, Meta(ge=0)]
DeviceCount = Annotated[int, Meta(ge=1)]
Replicas = Annotated[int, Meta(ge=2, description="a whole number, 2 or more")]

MPS_MAX_REPLICAS = 48
"""Clients of one MPS server on compute capability 7.5 and later; 16 before."""


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


class ReplicatedResource(Section, frozen=True, kw_only=True):
    """One resource whose devices are offered several times each."""

    name: ResourceName
    replicas: Replicas
    """How often each device is offered."""
    rename: ResourceName | None = None
    devices: Literal["all"] | DeviceCount | tuple[DeviceIndex | DeviceName, ...] = "all"
    """Which devices: all, the first so many, or a list."""


class SharedResources(Section, frozen=True, kw_only=True):
    """``sharing.timeSlicing`` or ``sharing.mps``."""

    resources: Annotated[
        tuple[ReplicatedResource, ...],
        Meta(min_length=1, description="a list of at least one resource"),
    ]
    rename_by_default: bool = False
    """Offer shared devices as ``<name>.shared``."""
    fail_requests_greater_than_one: bool | None = None
    """Refuse a container that asks for several replicas, which would not give it more. None:
    false under time-slicing, true under MPS."""


class Sharing(Section, frozen=True, kw_only=True):
    """``sharing``: at most one of the two."""

    time_slicing: SharedResources | None = None
    mps: SharedResources | None = None
