"""``plumbline.mig``: how the GPUs of a node are to be divided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from agent.config import conversion
from agent.config.gpu_names import GpuSelector
from agent.config.section import AbsolutePath, Duration, Section, Words
from agent.model.mig_names import parse_profile, suggest_profile

LayoutName = Annotated[str, Meta(min_length=1, description="a layout's name")]
ProfileText = Annotated[
    str,
    Meta(min_length=1, description="a MIG profile, as in 1g.10gb, 1g.10gb+me or 1c.3g.20gb"),
]
InstanceCount = Annotated[int, Meta(ge=0)]
MemorySlice = Annotated[int, Meta(ge=0, le=63, description="a memory slice, a whole number")]
Counts = dict[ProfileText, InstanceCount]


class PlacedInstance(Section, frozen=True, kw_only=True):
    """One GPU instance, said exactly."""

    profile: ProfileText
    start: MemorySlice | None = None
    """First memory slice; None: anywhere."""
    compute: Counts | None = None
    """Compute instances in it by name; None: one that takes all of it."""


class LayoutEntry(Section, frozen=True, kw_only=True):
    """What some of the GPUs are to be."""

    gpus: Literal["all"] | GpuSelector
    enabled: bool = True
    """MIG mode."""
    keep: bool = False
    """Leave these GPUs as they are."""
    instances: Counts | tuple[PlacedInstance, ...] | None = None
    """How many by profile, or a list of GPU instances."""


class Mig(Section, frozen=True, kw_only=True):
    """``plumbline.mig``."""

    layout: LayoutName | None = None
    """None: GPUs are left as they are."""
    layouts: dict[LayoutName, tuple[LayoutEntry, ...]] = field(default_factory=Words)
    file: AbsolutePath | None = None
    """More layouts, in mig-parted's format."""
    allow_reset: bool = False
    """Off: a reset ends whatever runs on the GPU. Ampere changes its mode by one only."""
    evict: bool = False
    """Off: pods that hold an instance which has to go end by themselves."""
    drain_deadline: Duration = 300.0
    """Seconds to wait for pods to end before a change is given up. 5 minutes is what MIG's own
    operator waits for its pods."""


def within_layouts(mig: Mig) -> Iterator[tuple[str, str]]:
    """Yield path and message of what contradicts itself, below ``plumbline.mig``."""
    for name, entries in mig.layouts.items():
        if not entries:
            yield f"layouts[{name}]", "has no entry; write what the GPUs are to be"
        for i, entry in enumerate(entries):
            path = f"layouts[{name}][{i}]"
            yield from ((f"{path}.{part}", text) for part, text in _within_entry(entry))


def _within_entry(entry: LayoutEntry) -> Iterator[tuple[str, str]]:
    wanted = entry.instances
    if entry.keep and wanted is not None:
        yield "instances", "cannot be combined with keep; leave one of the two out"
    elif not entry.enabled and wanted:
        yield "instances", "cannot be combined with enabled false; leave it out, or enable MIG"
    elif wanted is None and entry.enabled and not entry.keep:
        yield "instances", "is missing; write the profiles, {} for none yet, or keep: true"
    if isinstance(wanted, dict):
        yield from (("instances" + part, text) for part, text in count_faults(wanted))
        return
    for i, placed in enumerate(wanted or ()):
        yield from ((f"instances[{i}].{part}", text) for part, text in _within_placed(placed))


def _within_placed(placed: PlacedInstance) -> Iterator[tuple[str, str]]:
    outer = parse_profile(placed.profile)
    if outer is None:
        yield "profile", no_profile(placed.profile)
    elif not outer.is_whole:
        said = f"{placed.profile!r} is a compute instance"
        yield "profile", f"{said}; write {str(outer.outer)!r} here, and it under compute"
    elif placed.compute is not None:
        yield from (("compute" + part, text) for part, text in count_faults(placed.compute))
        for text in placed.compute:
            inner = parse_profile(text)
            if inner is not None and inner.outer != outer.outer:
                yield (
                    f"compute[{text}]",
                    f"{text!r} lies in no {str(outer)!r}; its name ends in {str(outer)!r}",
                )
        if not placed.compute:
            yield "compute", "is empty; leave it out for one that takes all of the instance"


def count_faults(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield where, below a map of counts by profile, something is wrong, and what."""
    for text in counts:
        if parse_profile(text) is None:
            yield f"[{text}]", no_profile(text)
    if counts and not any(counts.values()):
        yield "", "asks for none of each; write {} for a GPU without instances"


def no_profile(text: str) -> str:
    """Return what is said of text that is no profile's name."""
    said = f"{conversion.show(text)} is not {conversion.expectation(ProfileText)}"
    alike = suggest_profile(text)
    return said if alike is None else f"{said}; did you mean {alike!r}?"
