"""What the GPUs of a node are divided into, as a layout in mig-parted's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from agent.model.mig import ComputeProfile, GpuInstance, GpuInstanceProfile
from agent.planning.layout_generation import Entries, device_filter
from agent.planning.layout_model import DivisibleGpu
from agent.planning.mig_packing import pack


class GpuState(Struct, frozen=True, kw_only=True):
    """A GPU and what it is divided into now."""

    gpu: DivisibleGpu
    enabled: bool
    """MIG mode."""
    instances: tuple[GpuInstance, ...] = ()


class Export(Struct, frozen=True, kw_only=True):
    """The state of the GPUs as the entries of one layout."""

    entries: Entries
    notes: tuple[str, ...]
    """What mig-parted's format cannot say: read back, the layout is another one there."""


_Config = tuple[bool, tuple[tuple[str, int], ...]]
"""MIG mode, and how many compute instances by name, the largest first."""


def export_layout(states: Sequence[GpuState], only: Collection[str] | None = None) -> Export:
    """Return the state of the GPUs that can do MIG; those in the same state share an entry.

    ``only`` are UUIDs of GPUs: read back, the layout selects these and no others.
    """
    there = [state for state in states if state.gpu.capable]
    capable = [state for state in there if only is None or state.gpu.uuid in only]
    groups: dict[_Config, list[DivisibleGpu]] = {}
    for state in capable:
        groups.setdefault((state.enabled, _counts(state)), []).append(state.gpu)
    gpus = [state.gpu for state in there]
    entries = [
        _entry(config, chosen)
        for config, group in groups.items()
        for chosen in _select(group, gpus)
    ]
    return Export(entries=entries, notes=tuple(note for s in capable for note in _notes(s)))


def _entry(config: _Config, chosen: dict[str, object]) -> dict[str, object]:
    enabled, counts = config
    said: dict[str, object] = {"mig-enabled": enabled}
    return {**chosen, **said, **({"mig-devices": dict(counts)} if enabled else {})}


def _select(
    group: Sequence[DivisibleGpu], gpus: Sequence[DivisibleGpu]
) -> Iterator[dict[str, object]]:
    """Yield what selects a group: all, every GPU of some boards, or indices."""
    if len(group) == len(gpus):
        yield {"devices": "all"}
        return
    boards = {device_filter(gpu) for gpu in group}
    there = [gpu for gpu in gpus if device_filter(gpu) in boards]
    if len(there) == len(group) and None not in boards:
        filters = sorted(str(board) for board in boards)
        yield {"device-filter": filters[0] if len(filters) == 1 else filters, "devices": "all"}
        return
    yield {"devices": sorted(gpu.index for gpu in group)}


def _counts(state: GpuState) -> tuple[tuple[str, int], ...]:
    counts: Counter[tuple[GpuInstanceProfile, ComputeProfile]] = Counter(
        (profile, compute) for profile, computes in _known(state) for compute in computes
    )
    order = sorted(
        counts.items(), key=lambda item: (-item[0][0].slices, -item[0][1].slices, item[0][0].name)
    )
    return tuple((_name(profile, compute), n) for (profile, compute), n in order)


def _known(state: GpuState) -> list[tuple[GpuInstanceProfile, list[ComputeProfile]]]:
    """Return the profiles of every GPU instance and of the compute instances in it."""
    profiles = {profile.id: profile for profile in state.gpu.profiles}
    return [
        (profile, [c for each in instance.compute for c in profile.compute if c.id == each.profile])
        for instance in state.instances
        for profile in [profiles.get(instance.profile)]
        if profile is not None
    ]


def _name(profile: GpuInstanceProfile, compute: ComputeProfile) -> str:
    whole = compute.slices == profile.slices
    return profile.name if whole else f"{compute.slices}c.{profile.name}"


def _notes(state: GpuState) -> Iterator[str]:
    """Yield what the counts of a GPU do not say."""
    known = _known(state)
    if len(known) < len(state.instances):
        yield f"{state.gpu} has an instance of a profile that the driver does not list"
    by_profile: dict[GpuInstanceProfile, list[list[ComputeProfile]]] = {}
    for profile, compute in known:
        if compute:
            by_profile.setdefault(profile, []).append(compute)
        else:
            yield f"{state.gpu} has a {profile.name} without a compute instance, which is left out"
    for profile, bins in by_profile.items():
        packed = pack(profile, [compute for each in bins for compute in each])
        if Counter(i.compute for i in packed) != Counter(_ids(each) for each in bins):
            yield (
                f"{state.gpu} has {len(bins)} {profile.name}, whose compute instances would be "
                f"put into {len(packed)} otherwise"
            )


def _ids(compute: Sequence[ComputeProfile]) -> tuple[int, ...]:
    return tuple(each.id for each in sorted(compute, key=lambda c: (-c.slices, c.id)))
