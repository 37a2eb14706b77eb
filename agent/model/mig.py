"""The nouns of MIG: what a GPU can be divided into, what it is divided into, what is wanted.

Facts are NVML's (``nvmlDeviceGetGpuInstanceProfileInfoV`` and the calls beside it). A GPU is cut
twice: GPU instances share its memory slices, compute instances the compute slices of one GPU
instance. A container is given a compute instance with the GPU instance around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct


class MigPlacement(Struct, frozen=True, kw_only=True, order=True):
    """Where a GPU instance lies on the GPU's axis of memory slices."""

    start: int
    size: int

    def overlaps(self, other: MigPlacement) -> bool:
        """Return True when both take a slice in common."""
        return self.start < other.start + other.size and other.start < self.start + self.size


class ComputeProfile(Struct, frozen=True, kw_only=True):
    """A size of compute instance that fits into GPU instances of one profile."""

    enum: int
    """Argument of ``nvmlGpuInstanceGetComputeInstanceProfileInfoV``."""
    id: int
    """What the driver reports of a compute instance of this size; argument of its creation."""
    slices: int
    """Compute slices: the C of ``1c.3g.20gb``."""
    multiprocessors: int
    most: int
    """How many fit into one GPU instance that is empty."""


class Engines(Struct, frozen=True, kw_only=True):
    """What a GPU instance has beside multiprocessors and memory."""

    copy: int = 0
    decoders: int = 0
    encoders: int = 0
    jpeg: int = 0
    optical_flow: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInstanceProfile:
    """A size of GPU instance that a GPU offers."""

    name: str
    """As in ``nvidia-smi mig -lgip``, without ``MIG``: ``3g.20gb``, ``1g.10gb+me``."""
    enum: int
    """Argument of ``nvmlDeviceGetGpuInstanceProfileInfoV``: differs between driver headers only
    by new values."""
    id: int
    """What the driver reports of an instance of this size; argument of its creation. By board."""
    slices: int
    """Compute slices: the G of ``3g.20gb``."""
    memory_mib: int
    multiprocessors: int
    most: int
    """How many an empty GPU can hold."""
    placements: tuple[MigPlacement, ...]
    """Where the driver allows it, by start."""
    compute: tuple[ComputeProfile, ...]
    """By slices, the smallest first."""
    engines: Engines = field(default=Engines(), compare=False)

    @property
    def whole(self) -> ComputeProfile | None:
        """Return the compute profile that takes all of it: what a plain name (C = G) means."""
        return next((each for each in self.compute if each.slices == self.slices), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeInstance:
    """A compute instance that exists."""

    id: int
    """Unique within its GPU instance."""
    profile: int
    """ComputeProfile.id."""
    uuid: str | None
    """Of its MIG device, ``MIG-...``; another one whenever it is made again."""
    index: int | None = field(default=None, compare=False)
    """NVML's index of its MIG device on the GPU: the j of ``i:j``. Others shift it."""
    start: int | None = field(default=None, compare=False)
    """First compute slice within its GPU instance, where the driver tells it."""
    access_node: str | None = field(default=None, compare=False)
    """Device node that opens it, below /dev; None where the node has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInstance:
    """A GPU instance that exists, with the compute instances in it."""

    id: int
    """Unique on its GPU; the driver derives it from where the instance lies."""
    profile: int
    """GpuInstanceProfile.id."""
    placement: MigPlacement
    compute: tuple[ComputeInstance, ...]
    """By id."""
    access_node: str | None = field(default=None, compare=False)
    """Device node that opens it, below /dev; None where the node has none."""


class Partition(Struct, frozen=True, kw_only=True):
    """How a GPU in MIG mode can be divided, and how it is."""

    profiles: tuple[GpuInstanceProfile, ...]
    """The smallest first."""
    instances: tuple[GpuInstance, ...]
    """By id."""

    def profile_of(self, instance: GpuInstance) -> GpuInstanceProfile:
        """Return the size of a GPU instance. Raises KeyError when the GPU has no such size."""
        for profile in self.profiles:
            if profile.id == instance.profile:
                return profile
        raise KeyError(instance.profile)


def compute_starts(slices: int, total: int) -> range:
    """Return where a compute instance of ``slices`` may begin in a GPU instance of ``total``.

    As ``nvidia-smi mig -lcipp`` lists it of every board: at multiples of its size, three slices
    at multiples of four.
    """
    return range(0, total - slices + 1, 4 if slices == 3 else slices)


def mig_profile_name(around: GpuInstanceProfile, compute: ComputeInstance) -> str:
    """Return the name of a MigInstance: ``3g.20gb``, or ``1c.3g.20gb`` where it is a part."""
    slices = next((each.slices for each in around.compute if each.id == compute.profile), None)
    if slices is None or slices == around.slices:
        return around.name
    return f"{slices}c.{around.name}"


class MigProcess(Struct, frozen=True, kw_only=True):
    """A process that computes on a GPU."""

    pid: int
    gpu_instance: int | None
    """None where it has the whole GPU."""
    compute_instance: int | None


class WantedInstance(Struct, frozen=True, kw_only=True):
    """A GPU instance of a layout that is wanted."""

    profile: int
    """GpuInstanceProfile.id."""
    compute: tuple[int, ...]
    """ComputeProfile.id of every compute instance in it, the largest first."""
    start: int | None = None
    """First memory slice; None: wherever it leaves the most room."""


class InstancePlace(Struct, frozen=True, kw_only=True):
    """Where an instance is to be: one compute instance takes all of it."""

    gpu: str
    profile: int
    """GpuInstanceProfile.id."""
    placement: MigPlacement

    def is_at(self, other: GpuInstance | WantedInstance) -> bool:
        """Return True for an instance of this size that begins here."""
        start = other.placement.start if isinstance(other, GpuInstance) else other.start
        return (other.profile, start) == (self.profile, self.placement.start)

    def __str__(self) -> str:
        """Name it in messages."""
        return f"the place at {self.placement.start} of {self.gpu}"
