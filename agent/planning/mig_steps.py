"""Steps that change how one GPU is divided. Values: only ``agent.partition`` executes them.

Each says what it changes and how that was before, so that it can be undone, and itself in a line.
The driver numbers a GPU instance only when it makes it: later steps call it by a number of the
plan's own.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from agent.model.mig import ComputeInstance, GpuInstance, MigPlacement


class SetMigMode(Struct, frozen=True, kw_only=True):
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


class DestroyComputeInstance(Struct, frozen=True, kw_only=True):
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


class DestroyGpuInstance(Struct, frozen=True, kw_only=True):
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


class CreateGpuInstance(Struct, frozen=True, kw_only=True):
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


class Existing(Struct, frozen=True, kw_only=True):
    """A GPU instance that the driver knows by this id."""

    id: int


class New(Struct, frozen=True, kw_only=True):
    """The GPU instance that an earlier step of the plan makes under this number."""

    number: int


class CreateComputeInstance(Struct, frozen=True, kw_only=True):
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
