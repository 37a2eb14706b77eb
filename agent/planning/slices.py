"""ResourceSlices as plain documents: what is published, and what that changes. Pure.

Limits and rules are those of resource.k8s.io/v1 (Kubernetes 1.34 and later): 128 devices in a
slice, 64 where one has taints; every slice of a pool names the pool's generation and how many
slices it has; only the highest generation counts, and only when it is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec import Struct

from agent.planning.api_abilities import ApiAbilities
from agent.planning.dra_devices import (
    CounterSet,
    DraDevice,
    Offering,
    RequestPolicy,
    Value,
    Version,
)

# Devices in a slice; where one has taints or draws on counters; counter sets; letters of a name.
_MOST, _MOST_WITH_TAINTS, _MOST_SETS, _NAME_BYTES = 128, 64, 8, 253
_BINARY, _DECIMAL = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), ("", "k", "M", "G", "T", "P", "E")
API = "resource.k8s.io/v1"

Document = dict[str, Any]
T = TypeVar("T")


class Pool(Struct, frozen=True, kw_only=True):
    """Whose slices they are."""

    driver: str
    node: str
    node_uid: str
    """The slices go with the node."""


class Written(Struct, frozen=True, kw_only=True):
    """A slice as it was sent, and as the server keeps it."""

    sent: Document
    kept: Document


class SliceChanges(Struct, frozen=True, kw_only=True):
    """What leads from the slices that are there to those wanted, in this order."""

    delete: tuple[Document, ...] = ()
    update: tuple[Document, ...] = ()
    create: tuple[Document, ...] = ()

    def __bool__(self) -> bool:
        """Return True when there is anything to do."""
        return bool(self.delete or self.update or self.create)


def plan_slices(
    offering: Offering,
    pool: Pool,
    taint_effect: str,
    abilities: ApiAbilities = ApiAbilities(),  # noqa: B008 - a value
) -> list[Document]:
    """Return the slices of a pool, at least one, in the order that the scheduler goes through.

    Without a generation, which depends on what is there. ``offering`` is one that a server of
    these abilities can hold (``reduced``).
    """
    if abilities.counters_apart:
        counters = [
            {"sharedCounters": [_counter_set(each) for each in part]}
            for part in _parts(offering.counter_sets, _MOST_SETS)
        ]
        contents: list[Document] = [
            {"devices": [_device(each, taint_effect) for each in part]}
            for part in _filled(offering.devices)
        ]
    else:
        counters = []
        contents = _together(offering, taint_effect)
    count = len(contents) + len(counters)
    return [
        *(_slice(f"counters-{i:03}", each, count, pool) for i, each in enumerate(counters)),
        *(_slice(f"{i:03}", each, count, pool) for i, each in enumerate(contents)),
    ]


def slice_changes(
    wanted: Sequence[Document],
    there: Iterable[Document],
    written: Mapping[str, Written] = MappingProxyType({}),
) -> SliceChanges:
    """Return what is to be done; nothing where only an order of keys or a default differs.

    ``written`` are slices as they were written last, by name: what the server made of one is not
    sent again as long as neither has changed.
    """
    by_name = {each["metadata"]["name"]: each for each in there}
    generations = {_pool(each).get("generation", 0) for each in by_name.values()}
    complete = len(generations) <= 1 and by_name.keys() == {_name(each) for each in wanted}
    changed = [
        each
        for each in wanted
        if (old := by_name.get(_name(each))) is None
        or not _is_there(each, old, written.get(_name(each)))
    ]
    if complete and not changed:
        return SliceChanges()
    # One slice alone is replaced at once; of several, a scheduler is to see all or none.
    alone = complete and len(changed) == 1
    generation = max(generations, default=0) + (0 if alone else 1)
    times = _taint_times(by_name.values())
    update, create = [], []
    for each in changed if alone else wanted:
        fresh = _with_times(each, times)
        fresh["spec"]["pool"] = {**_pool(each), "generation": generation}
        if (old := by_name.get(_name(each))) is None:
            create.append(fresh)
        else:
            version = {"resourceVersion": old["metadata"]["resourceVersion"]}
            update.append({**fresh, "metadata": {**fresh["metadata"], **version}})
    kept = {_name(each) for each in wanted}
    gone = tuple(each for name, each in by_name.items() if name not in kept)
    return SliceChanges(delete=gone, update=tuple(update), create=tuple(create))


def is_kept_otherwise(written: Written) -> bool:
    """Return True when a server keeps a slice as something else than it was sent."""
    return _essence(written.sent) != _essence(written.kept)


def _is_there(wanted: Document, there: Document, last: Written | None) -> bool:
    essence, found = _essence(wanted), _essence(there)
    if essence == found:
        return True
    return last is not None and essence == _essence(last.sent) and found == _essence(last.kept)


def _name(document: Mapping[str, Any]) -> str:
    return str(document["metadata"]["name"])


def _taint_times(there: Iterable[Document]) -> dict[tuple[str, str, str], str]:
    """Return since when devices have their taints, as the server noted it."""
    return {
        (device["name"], taint["key"], taint["effect"]): taint["timeAdded"]
        for each in there
        for device in each["spec"].get("devices") or ()
        for taint in device.get("taints") or ()
        if "timeAdded" in taint
    }


def _with_times(document: Document, times: Mapping[tuple[str, str, str], str]) -> Document:
    """Return a slice whose taints are as old as they were: the server would date them anew."""
    spec = dict(document["spec"])
    if "devices" in spec:
        spec["devices"] = [
            {**device, "taints": [_aged(device["name"], each, times) for each in device["taints"]]}
            if "taints" in device
            else device
            for device in spec["devices"]
        ]
    return {**document, "spec": spec}


def _aged(device: str, taint: Document, times: Mapping[tuple[str, str, str], str]) -> Document:
    since = times.get((device, taint["key"], taint["effect"]))
    return taint if since is None else {**taint, "timeAdded": since}


def _together(offering: Offering, taint_effect: str) -> list[Document]:
    """Return contents of slices in which counters stand beside the devices that draw on them."""
    sets = {each.name: each for each in offering.counter_sets}
    by_set: dict[str, list[DraDevice]] = {}
    alone: list[DraDevice] = []
    for device in offering.devices:
        (by_set.setdefault(next(iter(device.consumes)), []) if device.consumes else alone).append(
            device
        )
    contents: list[Document] = [
        {
            "sharedCounters": [_counter_set(sets[name])],
            "devices": [_device(each, taint_effect) for each in devices],
        }
        for name, devices in by_set.items()
    ]
    if alone or not contents:
        rest = _filled(alone)
        contents += [{"devices": [_device(each, taint_effect) for each in part]} for part in rest]
    return contents


def _filled(devices: Sequence[DraDevice]) -> list[Sequence[DraDevice]]:
    """Return devices slice by slice, in their order; one slice where there are none."""
    parts: list[list[DraDevice]] = [[]]
    for device in devices:
        heavy = any(_is_heavy(each) for each in (*parts[-1], device))
        if len(parts[-1]) >= (_MOST_WITH_TAINTS if heavy else _MOST):
            parts.append([])
        parts[-1].append(device)
    return [*parts]


def _is_heavy(device: DraDevice) -> bool:
    return bool(device.taints or device.consumes)


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _slice(suffix: str, contents: Document, count: int, pool: Pool) -> Document:
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": pool.node,
        "uid": pool.node_uid,
        "controller": True,
    }
    return {
        "apiVersion": API,
        "kind": "ResourceSlice",
        "metadata": {"name": _slice_name(pool, suffix), "ownerReferences": [owner]},
        "spec": {
            "driver": pool.driver,
            "nodeName": pool.node,
            "pool": {"name": pool.node, "resourceSliceCount": count},
            **contents,
        },
    }


def _slice_name(pool: Pool, suffix: str) -> str:
    """Return a slice's name; slices of devices sort in the order of their devices."""
    name = f"{pool.node}-{pool.driver}-{suffix}"
    if len(name) <= _NAME_BYTES:
        return name
    digest = hashlib.sha256(pool.node.encode()).hexdigest()[:16]
    return f"node-{digest}-{pool.driver}-{suffix}"


def _counter_set(counters: CounterSet) -> Document:
    return {
        "name": counters.name,
        "counters": {name: {"value": _quantity(n)} for name, n in counters.counters.items()},
    }


def _device(device: DraDevice, taint_effect: str) -> Document:
    document: Document = {
        "name": device.name,
        "attributes": {name: attribute_value(value) for name, value in device.attributes.items()},
    }
    # What is empty would not come back from the API server, and count as a change.
    if device.capacity:
        document["capacity"] = {
            name: _capacity(n, device.policies.get(name)) for name, n in device.capacity.items()
        }
    if device.shared:
        document["allowMultipleAllocations"] = True
    if device.consumes:
        document["consumesCounters"] = [
            {"counterSet": name, "counters": {n: {"value": _quantity(v)} for n, v in taken.items()}}
            for name, taken in device.consumes.items()
        ]
    if device.taints:
        document["taints"] = [
            {"key": key, "value": value, "effect": taint_effect}
            for key, value in sorted(device.taints.items())
        ]
    return document


def _capacity(count: int, policy: RequestPolicy | None) -> Document:
    document: Document = {"value": _quantity(count)}
    if policy is not None:
        bounds = {"min": policy.least, "max": policy.most, "step": policy.step}
        document["requestPolicy"] = {
            "default": _quantity(policy.default),
            "validRange": {k: _quantity(n) for k, n in bounds.items() if n is not None},
        }
    return document


def attribute_value(value: Value | Version) -> Document:
    """Return an attribute as resource.k8s.io/v1 has it."""
    match value:
        case Version(text=text):
            return {"version": text}
        case bool():
            return {"bool": value}
        case int():
            return {"int": value}
        case _:
            return {"string": value}


def _quantity(count: int) -> str:
    """Return a number as the API server writes it, so that what it returns compares equal.

    That is with the largest unit that leaves a whole number: 1k for 1000, 1Ti for 1024Gi
    (apimachinery, resource.Quantity).
    """
    size, units = (1000, _DECIMAL) if count % 1024 else (1024, _BINARY)
    power = 0
    while count and count % size == 0 and power < len(units) - 1:
        count, power = count // size, power + 1
    return f"{count}{units[power]}"


def _pool(document: Mapping[str, Any]) -> Document:
    return dict(document["spec"].get("pool") or {})


def _essence(document: Mapping[str, Any]) -> Document:
    """Return what of a slice is ours to say."""
    spec = document["spec"]
    pool = {key: value for key, value in _pool(document).items() if key != "generation"}
    devices = []
    for each in spec.get("devices") or ():
        taints = [
            {key: value for key, value in taint.items() if key != "timeAdded"}
            for taint in each.get("taints") or ()
        ]
        devices.append({**each, "taints": taints})
    return {
        "driver": spec.get("driver"),
        "nodeName": spec.get("nodeName"),
        "pool": pool,
        "devices": devices,
        "sharedCounters": spec.get("sharedCounters") or [],
    }
