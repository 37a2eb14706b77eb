"""What an API server can hold of an offering, and the offering that it can hold. Pure.

A server whose feature gate is off drops the fields of that feature without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from agent.planning.dra_devices import DraDevice, NewInstance, Offering, WholeGpus

# From then on counters stand in slices of their own (KEP-4815); before, beside the devices.
_COUNTERS_APART = (1, 35)
# Devices in a slice in which one draws on counters.
_MOST_BESIDE = 64

Document = Mapping[str, Any]


class Feature(StrEnum):
    """Fields that come and go together, by the gate that they belong to."""

    COUNTERS = "DRAPartitionableDevices"
    SHARES = "DRAConsumableCapacity"
    TAINTS = "DRADeviceTaints"


class ApiAbilities(Struct, frozen=True, kw_only=True):
    """What is known of an API server."""

    version: tuple[int, int] = (1, 36)
    """Major and minor."""
    dropped: frozenset[Feature] = frozenset()
    """What it was seen to drop."""

    @property
    def counters_apart(self) -> bool:
        """True where counters stand in slices of their own."""
        return self.version >= _COUNTERS_APART


def read_version(document: Document) -> tuple[int, int]:
    """Return major and minor of what /version answers; what cannot be read counts as the oldest."""
    major, minor = (
        "".join(each for each in str(document.get(key, "")) if each.isdecimal())
        for key in ("major", "minor")
    )
    return (int(major), int(minor)) if major and minor else (1, 34)


def dropped_features(sent: Document, kept: Document) -> frozenset[Feature]:
    """Return what a server has left out of a slice that it was sent."""
    before, after = _features(sent), _features(kept)
    return frozenset(feature for feature in Feature if before[feature] > after[feature])


def reduced(offering: Offering, abilities: ApiAbilities) -> Offering:
    """Return what of an offering can be published, and is safe without the rest.

    Without counters a GPU is offered in one way only, whole or as the instances that are there;
    without shares to one claim at a time; without taints not at all while it is unwell. What a
    claim has stays whatever becomes of it.
    """
    devices = offering.devices
    if Feature.TAINTS in abilities.dropped:
        devices = tuple(
            replace(each, taints={})
            for each in devices
            if not each.taints or each.name in offering.allocated
        )
    if Feature.SHARES in abilities.dropped:
        devices = tuple(replace(each, shared=False, policies={}) for each in devices)
    if Feature.COUNTERS in abilities.dropped:
        unsafe = {each.name for each in devices if not _stands_alone(each)}
        left = _without(replace(offering, devices=devices), unsafe)
        devices = tuple(replace(each, consumes={}) for each in left)
        return replace(offering, devices=devices, counter_sets=())
    if not abilities.counters_apart:
        return _beside_their_devices(replace(offering, devices=devices))
    return replace(offering, devices=devices)


def _without(offering: Offering, unsafe: Collection[str]) -> Iterator[DraDevice]:
    """Yield the devices but those named, of which claims keep what they have, in place of what
    that is made of.
    """
    taken = {
        gpu
        for each in offering.devices
        if each.name in unsafe and each.name in offering.allocated
        for gpu in _gpus(each)
    }
    for each in offering.devices:
        safe = each.name not in unsafe and taken.isdisjoint(_gpus(each))
        if safe or each.name in offering.allocated:
            yield each


def _beside_their_devices(offering: Offering) -> Offering:
    """Return an offering in which a device draws on the counters of one GPU at most.

    Counters stand in the slice of their devices before 1.35, and those of all GPUs together in
    none.
    """
    of_node = {
        name
        for name, sets in _sets_of_kinds(offering.devices)
        if len({each for found in sets for each in found}) > 1
    }
    bundles = {
        each.name
        for each in offering.devices
        if each.consumes and not each.consumes.keys() - of_node and not _stands_alone(each)
    }
    left = [
        replace(each, consumes={n: c for n, c in each.consumes.items() if n not in of_node})
        for each in _without(offering, bundles)
    ]
    devices = tuple(_beside(left, offering.allocated))
    sets = tuple(each for each in offering.counter_sets if each.name not in of_node)
    return replace(offering, devices=devices, counter_sets=sets)


def _beside(devices: Sequence[DraDevice], allocated: Collection[str]) -> Iterator[DraDevice]:
    """Yield devices, of those that draw on one counter set the first that fit into its slice.

    What claims have comes before what they do not.
    """
    room = {name: _MOST_BESIDE for device in devices for name in device.consumes}
    for device in devices:
        for name in device.consumes if device.name in allocated else ():
            room[name] -= 1
    for device in devices:
        if device.name not in allocated:
            if any(room[name] <= 0 for name in device.consumes):
                continue
            for name in device.consumes:
                room[name] -= 1
        yield device


def _sets_of_kinds(
    devices: Iterable[DraDevice],
) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield for each counter set the GPUs of the devices that draw on it."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for device in devices:
        for name in device.consumes:
            found.setdefault(name, []).append(_gpus(device))
    yield from found.items()


def _gpus(device: DraDevice) -> tuple[str, ...]:
    match device.subject:
        case WholeGpus(gpus=gpus):
            return gpus
        case NewInstance(gpu=gpu):
            return (gpu,)
        case _:
            return ()


def _stands_alone(device: DraDevice) -> bool:
    """Return True for a device that is no part, and no bundle, of other devices."""
    if isinstance(device.subject, WholeGpus):
        return len(device.subject.gpus) == 1
    return not isinstance(device.subject, NewInstance)


def _features(document: Document) -> Mapping[Feature, int]:
    spec = document.get("spec") or {}
    devices = spec.get("devices") or ()
    return {
        Feature.COUNTERS: len(spec.get("sharedCounters") or ())
        + sum(len(each.get("consumesCounters") or ()) for each in devices),
        Feature.SHARES: sum(bool(each.get("allowMultipleAllocations")) for each in devices)
        + sum(
            "requestPolicy" in capacity
            for each in devices
            for capacity in (each.get("capacity") or {}).values()
        ),
        Feature.TAINTS: sum(len(each.get("taints") or ()) for each in devices),
    }
