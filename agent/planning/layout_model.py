"""What a layout is resolved against, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from msgspec import Struct, field

from agent.config.problems import Problem
from agent.model.mig import GpuInstanceProfile, WantedInstance
from agent.planning.gpu_selection import NamedGpu


class DivisibleGpu(NamedGpu, frozen=True, kw_only=True):
    """A GPU, as far as layouts look at it."""

    capable: bool
    """Whether it can do MIG."""
    profiles: tuple[GpuInstanceProfile, ...]

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"GPU {self.index} ({self.model})"


class GpuKind(Struct, frozen=True, kw_only=True):
    """GPUs of one model that offer the same profiles: what fits one fits each."""

    subject: str
    """What messages call them: ``GPUs 0, 1 (NVIDIA A30)``."""
    profiles: Mapping[int, GpuInstanceProfile]
    """By id, in the driver's order."""
    several: bool

    def verb(self, one: str) -> str:
        """Return a verb, given as for one GPU, as it fits the subject."""
        return one.removesuffix("s") if self.several else one

    def __str__(self) -> str:
        """Return what messages call them."""
        return self.subject


def kinds_of(gpus: Sequence[DivisibleGpu]) -> dict[str, GpuKind]:
    """Return the kind of each GPU, by UUID."""
    groups: dict[tuple[str, tuple[GpuInstanceProfile, ...]], list[DivisibleGpu]] = {}
    for gpu in gpus:
        groups.setdefault((gpu.model, gpu.profiles), []).append(gpu)
    kinds: dict[str, GpuKind] = {}
    for (model, profiles), alike in groups.items():
        numbers = ", ".join(str(gpu.index) for gpu in alike)
        kind = GpuKind(
            subject=f"{'GPU' if len(alike) == 1 else 'GPUs'} {numbers} ({model})",
            profiles={profile.id: profile for profile in profiles},
            several=len(alike) > 1,
        )
        kinds |= {gpu.uuid: kind for gpu in alike}
    return kinds


class Mode(Enum):
    """What is wanted of a GPU that is not to be divided."""

    OFF = "off"  # MIG mode off
    KEEP = "keep"  # left as it is


class Divided(Struct, frozen=True, kw_only=True):
    """MIG mode on, and these instances; the largest first."""

    instances: tuple[WantedInstance, ...]


Wanted = Mode | Divided


class Resolution(Struct, frozen=True, kw_only=True):
    """A layout on the GPUs of a node; with problems, nothing is wanted of any."""

    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    """By UUID, for every GPU of the node."""
    problems: tuple[Problem, ...] = ()
