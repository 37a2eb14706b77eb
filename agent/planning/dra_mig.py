"""MigInstances as DRA offers them: those that are there, and those that are made for claims. Pure.

What is made on demand is a device for every profile and every place of it (KEP-4815). Counters
say what a GPU has once: each of its memory slices, its compute slices, and as many instances of
a profile as the driver allows. So the scheduler combines exactly what the hardware does.
Attribute and capacity names are those of NVIDIA's driver.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct

from agent.model.inventory import Gpu, Inventory
from agent.model.mig import GpuInstance, GpuInstanceProfile, MigPlacement
from agent.model.mig_instance import MigInstance
from agent.planning.dra_devices import (
    CounterSet,
    DraDevice,
    ExistingInstance,
    NewInstance,
    attributes,
    board_facts,
    device_name,
)
from agent.planning.mig_room import MigTable, table_of

COMPUTE_SLICES = "compute-slices"
_LABEL_BYTES = 63
# Attributes and capacities of one device together.
_MOST_FACTS = 32


class OnDemand(Struct, frozen=True, kw_only=True):
    """A GPU of which instances are made for claims."""

    profiles: tuple[GpuInstanceProfile, ...]
    live_mode: bool
    """MIG mode changes without a reset."""

    def may_be_divided(self, *, in_mig_mode: bool) -> bool:
        """Return True where instances can be made without a reset."""
        return bool(self.profiles) and (in_mig_mode or self.live_mode)


def instance_device(instance: MigInstance, inventory: Inventory) -> DraDevice:
    """Return a MigInstance that is there as DRA offers it."""
    gpu = instance.parent
    profile = _profile_of(instance)
    own = {
        "type": "mig",
        "uuid": instance.uuid,
        "parentUUID": gpu.uuid,
        "profile": str(instance.profile),
    }
    capacity = {} if profile is None else _capacity(profile)
    if instance.multiprocessors is not None:
        capacity["multiprocessors"] = instance.multiprocessors
    facts = attributes(own | board_facts(gpu, inventory))
    slices = {f"memorySlice{i}": 1 for i in _slices(instance.placement)}
    if len(facts) + len(capacity) + len(slices) <= _MOST_FACTS:
        capacity |= slices
    return DraDevice(
        name=device_name(instance.uuid),
        subject=ExistingInstance(gpu=gpu.uuid, uuid=instance.uuid),
        attributes=facts,
        capacity=capacity,
    )


class Room(Struct, frozen=True, kw_only=True):
    """An instance that can be made of a GPU."""

    subject: NewInstance
    profile: GpuInstanceProfile
    consumes: Mapping[str, int]

    @property
    def name(self) -> str:
        """Return what the device is called."""
        return instance_name(self.subject.gpu, self.profile, self.subject.placement)


def rooms(gpu: Gpu, on_demand: OnDemand, foreign: Iterable[GpuInstance]) -> Iterator[Room]:
    """Yield the instances that can be made of a GPU beside those that others made.

    What leaves the most room on an empty GPU comes first, the small profiles before the large.
    """
    table = table_of(on_demand.profiles)
    counters, limited = counter_set(gpu, on_demand, foreign).counters, _limited(table)
    for profile in on_demand.profiles:
        if profile.whole is None:
            continue
        for place in _by_room(table, profile):
            consumes = _consumed(profile, place, limited)
            if all(n <= counters.get(name, 0) for name, n in consumes.items()):
                subject = NewInstance(gpu=gpu.uuid, profile=profile.id, placement=place)
                yield Room(subject=subject, profile=profile, consumes=consumes)


def new_instances(
    gpu: Gpu, on_demand: OnDemand, inventory: Inventory, foreign: Iterable[GpuInstance]
) -> Iterator[DraDevice]:
    """Yield the instances that can be made of a GPU as DRA offers them, in the order of rooms."""
    facts = board_facts(gpu, inventory)
    for room in rooms(gpu, on_demand, foreign):
        own = {"type": "mig", "parentUUID": gpu.uuid, "profile": room.profile.name}
        yield DraDevice(
            name=room.name,
            subject=room.subject,
            attributes=attributes(own | facts),
            capacity=_capacity(room.profile),
            consumes={counter_set_name(gpu.uuid): room.consumes},
        )


def instance_name(gpu: str, profile: GpuInstanceProfile, place: MigPlacement) -> str:
    """Return what an instance on demand is called: ``gpu-1a2b...-mig-1g-10gb-0``."""
    parent = device_name(gpu)
    # 1g.24gb-me is one without what 1g.24gb+me has.
    words = re.sub(r"[^a-z0-9]+", "-", profile.name.lower().replace("-", "-no-"))
    name = f"{parent}-mig-{words}-{place.start}"
    return name if len(name) <= _LABEL_BYTES else f"{parent}-mig-p{profile.id}-{place.start}"


def counter_set_name(gpu: str) -> str:
    """Return what the counters of a GPU are called."""
    return device_name(gpu)


def counter_set(gpu: Gpu, on_demand: OnDemand, foreign: Iterable[GpuInstance]) -> CounterSet:
    """Return what a GPU has beside the instances that others made."""
    table = table_of(on_demand.profiles)
    left = {f"memory-slice-{i}": 1 for i in range(table.axis)}
    left[COMPUTE_SLICES] = table.slices
    left |= {_limit_name(id_): table.profiles[id_].most for id_ in sorted(_limited(table))}
    for each in foreign:
        for i in _slices(each.placement):
            left.pop(f"memory-slice-{i}", None)
        if (profile := table.profiles.get(each.profile)) is not None:
            left[COMPUTE_SLICES] -= profile.slices
            if profile.id in _limited(table):
                left[_limit_name(profile.id)] -= 1
    return CounterSet(
        name=counter_set_name(gpu.uuid),
        counters={name: n for name, n in left.items() if n > 0},
    )


def foreign_instances(gpu: Gpu, ours: Mapping[tuple[int, int], object]) -> tuple[GpuInstance, ...]:
    """Return the instances of a GPU that no claim made; ``ours`` has those by profile and start."""
    there = gpu.partition.instances if gpu.partition else ()
    return tuple(each for each in there if (each.profile, each.placement.start) not in ours)


def _consumed(
    profile: GpuInstanceProfile, place: MigPlacement, limited: frozenset[int]
) -> dict[str, int]:
    taken = {f"memory-slice-{i}": 1 for i in _slices(place)}
    taken[COMPUTE_SLICES] = profile.slices
    if profile.id in limited:
        taken[_limit_name(profile.id)] = 1
    return taken


def _limit_name(profile: int) -> str:
    return f"profile-{profile}"


@lru_cache(maxsize=16)  # boards of one node
def _limited(table: MigTable) -> frozenset[int]:
    """Return the profiles of which fewer are allowed than slices would let be."""
    empty = table.room(0, Counter())
    found = set()
    for id_, profile in table.profiles.items():
        by_compute = table.slices // max(1, profile.slices)
        if _disjoint(profile.placements) > profile.most and by_compute > profile.most:
            found.add(id_)
    return frozenset(found) if empty.more else frozenset()


def _disjoint(placements: Iterable[MigPlacement]) -> int:
    """Count the places of a profile that can be taken beside each other."""
    count, end = 0, 0
    for place in sorted(placements):
        if place.start >= end:
            count, end = count + 1, place.start + place.size
    return count


@lru_cache(maxsize=256)  # profiles of the boards of one node
def _by_room(table: MigTable, profile: GpuInstanceProfile) -> tuple[MigPlacement, ...]:
    def room(place: MigPlacement) -> tuple[int, int]:
        bits = next(bits for bits, at in table.legal[profile.id] if at == place)
        return -table.room(bits, {profile.id: 1}).score, place.start

    return tuple(sorted(profile.placements, key=room))


def _profile_of(instance: MigInstance) -> GpuInstanceProfile | None:
    partition = instance.parent.partition
    if partition is None:
        return None
    around = next((each for each in partition.instances if each.id == instance.gpu_instance), None)
    return (
        None
        if around is None
        else next((each for each in partition.profiles if each.id == around.profile), None)
    )


def _capacity(profile: GpuInstanceProfile) -> dict[str, int]:
    engines = profile.engines
    return {
        "memory": profile.memory_mib << 20,
        "multiprocessors": profile.multiprocessors,
        "copyEngines": engines.copy,
        "decoders": engines.decoders,
        "encoders": engines.encoders,
        "jpegEngines": engines.jpeg,
        "ofaEngines": engines.optical_flow,
    }


def _slices(place: MigPlacement) -> range:
    return range(place.start, place.start + place.size)
