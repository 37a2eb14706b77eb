"""Steps that change how one GPU is divided. Values: only ``agent.partition`` executes them.

Each says what it changes and how that was before, so that it can be undone, and itself in a line.
The driver numbers a GPU instance only when it makes it: later steps call it by a number of the
plan's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agent.model.mig import ComputeInstance, GpuInstance, MigPlacement


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMigMode:
    """Turn MIG mode on or off. Before Hopper it takes effect with the GPU's next reset."""

    gpu: str
    enabled: bool
    was_enabled: bool
    """The mode in effect before."""
    was_pending: bool
    """The mode that was set before: another one where a reset was still due."""

    @property
    def text(self) -> str:
        return f"{self.gpu}: turn MIG mode {'on' if self.enabled else 'off'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyComputeInstance:
    """Destroy a compute instance."""

    gpu: str
    instance: GpuInstance
    """The GPU instance around it, as it was before the plan."""
    compute: ComputeInstance
    name: str
    """Of its profile: ``1c.3g.20gb``."""

    @property
    def text(self) -> str:
        inside = f"GPU instance {self.instance.id}"
        return f"{self.gpu}: destroy compute instance {self.compute.id} of {inside} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyGpuInstance:
    """Destroy a GPU instance whose compute instances earlier steps destroyed."""

    gpu: str
    instance: GpuInstance
    """As it was before the plan."""
    name: str
    """Of its profile: ``3g.20gb``."""

    @property
    def text(self) -> str:
        start = self.instance.placement.start
        return f"{self.gpu}: destroy GPU instance {self.instance.id} ({self.name} at {start})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGpuInstance:
    """Make a GPU instance at a chosen place."""

    gpu: str
    profile: int
    """GpuInstanceProfile.id."""
    placement: MigPlacement
    number: int
    """By which later steps of this plan call it."""
    name: str

    @property
    def text(self) -> str:
        return f"{self.gpu}: create {self.name} at {self.placement.start} (new {self.number})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A GPU instance that the driver knows by this id."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """The GPU instance that an earlier step of the plan makes under this number."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateComputeInstance:
    """Make a compute instance in a GPU instance."""

    gpu: str
    inside: Existing | New
    profile: int
    """ComputeProfile.id."""
    start: int | None
    """First compute slice in the GPU instance; None: wherever the driver puts it."""
    slices: int
    name: str

    @property
    def text(self) -> str:
        inside = self.inside
        where = (
            f"GPU instance {inside.id}" if isinstance(inside, Existing) else f"new {inside.number}"
        )
        return f"{self.gpu}: create compute instance {self.name} in {where}"


MigStep: TypeAlias = (
    SetMigMode
    | DestroyComputeInstance
    | DestroyGpuInstance
    | CreateGpuInstance
    | CreateComputeInstance
)
