"""What comes of planning how one GPU is divided.

One of three: a Plan; Blocked, by those who hold what is in the way; Impossible, because no GPU of
this board can be divided so. The last two say what could be had instead.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from agent.model.mig import ComputeInstance, GpuInstance, GpuInstanceProfile, WantedInstance
from agent.planning.mig_arrange import Holders
from agent.planning.mig_division import Division
from agent.planning.mig_steps import MigStep


class MigGpu(Struct, frozen=True, kw_only=True):
    """One GPU, as far as dividing it goes."""

    uuid: str
    profiles: tuple[GpuInstanceProfile, ...]
    """Empty: it has no MIG."""
    enabled: bool
    """MIG mode in effect."""
    pending: bool
    """MIG mode after the next reset; as a rule the same."""
    instances: tuple[GpuInstance, ...]
    """Empty while MIG mode is off."""
    holders: Holders
    """Who holds which compute instance, by (GPU instance id, compute instance id)."""
    whole_holders: tuple[str, ...] = ()
    """Who holds the GPU as a whole: in the way of a change of its mode."""


class Plan(Struct, frozen=True, kw_only=True):
    """Steps that lead to a layout, as few as there can be."""

    gpu: str
    steps: tuple[MigStep, ...]
    layout: Division
    """What the GPU is divided into afterwards, every instance with its start."""


class Obstacle(Struct, frozen=True, kw_only=True):
    """Something held that would have to go."""

    holders: tuple[str, ...]
    instance: GpuInstance | None
    """None: the GPU as a whole."""
    compute: ComputeInstance | None
    name: str
    """``3g.20gb at 4``, or ``the whole GPU``."""

    @property
    def text(self) -> str:
        return f"{self.name} is held by {', '.join(self.holders)}"


class Blocked(Struct, frozen=True, kw_only=True):
    """The layout is reached only when others let go of something."""

    gpu: str
    obstacles: tuple[Obstacle, ...]
    """The fewest that would have to go."""
    now: Plan
    """The largest part of the layout that can be had beside all that is held; of equal parts the
    one with the least else beside it. Idle instances that are not wanted go."""
    nearest: str
    """Where that leads, in words."""

    @property
    def text(self) -> str:
        held = "; ".join(each.text for each in self.obstacles)
        return f"{self.gpu}: {held}. Possible now: {self.nearest}"


class Impossible(Struct, frozen=True, kw_only=True):
    """No GPU of this board can be divided so."""

    gpu: str
    reasons: tuple[str, ...]
    offers: tuple[str, ...]
    """What it can be divided into: ``1g.5gb (7)``, the largest first."""
    nearest: tuple[WantedInstance, ...]
    """The largest part that fits an empty GPU, every instance with its start."""
    nearest_words: str

    @property
    def text(self) -> str:
        why = f"{self.gpu}: {'; '.join(self.reasons)}"
        if not self.offers:
            return why
        return f"{why}. It offers {', '.join(self.offers)}. What fits: {self.nearest_words}"


MigOutcome: TypeAlias = Plan | Blocked | Impossible
