"""ResourceSlices as plain documents: what is published, and what that changes. Pure.

Limits and rules are those of resource.k8s.io/v1 (Kubernetes 1.34 and later): 128 devices in a
slice, 64 where one has taints; every slice of a pool names the pool's generation and how many
slices it has; only the highest generation counts, and only when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.planning.dra_devices import DraDevice, Offering, Value, Version

_MOST, _MOST_WITH_TAINTS = 128, 64
_UNITS = (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
API = "resource.k8s.io/v1"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Whose slices they are."""

    driver: str
    node: str
    node_uid: str
    """The slices go with the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceChanges:
    """What leads from the slices that are there to those wanted, in this order."""

    delete: tuple[Document, ...] = ()
    update: tuple[Document, ...] = ()
    create: tuple[Document, ...] = ()

    def __bool__(self) -> bool:
        """Return True when there is anything to do."""
        return bool(self.delete or self.update or self.create)


def plan_slices(offering: Offering, pool: Pool, taint_effect: str) -> list[Document]:
    """Return the slices of a pool, at least one, in the order that the scheduler goes through.

    Without a generation, which depends on what is there.
    """
    devices = offering.devices
    most = _MOST_WITH_TAINTS if any(each.taints for each in devices) else _MOST
    parts = [devices[i : i + most] for i in range(0, len(devices), most)] or [()]
    return [_slice(i, part, len(parts), pool, taint_effect) for i, part in enumerate(parts)]


def slice_changes(wanted: Sequence[Document], there: Iterable[Document]) -> SliceChanges:
    """Return what is to be done; nothing where only an order of keys or a default differs."""
    by_name = {each["metadata"]["name"]: each for each in there}
    generations = {_pool(each).get("generation", 0) for each in by_name.values()}
    same = by_name.keys() == {each["metadata"]["name"] for each in wanted} and all(
        _essence(each) == _essence(by_name[each["metadata"]["name"]]) for each in wanted
    )
    if same and len(generations) <= 1:
        return SliceChanges()
    generation = max(generations, default=0) + 1
    update, create = [], []
    for each in wanted:
        old = by_name.pop(each["metadata"]["name"], None)
        fresh = {
            **each,
            "spec": {**each["spec"], "pool": {**_pool(each), "generation": generation}},
        }
        if old is None:
            create.append(fresh)
        else:
            version = {"resourceVersion": old["metadata"]["resourceVersion"]}
            fresh["metadata"] = {**fresh["metadata"], **version}
            update.append(fresh)
    return SliceChanges(delete=tuple(by_name.values()), update=tuple(update), create=tuple(create))


def _slice(
    index: int, devices: Sequence[DraDevice], count: int, pool: Pool, taint_effect: str
) -> Document:
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
        "metadata": {
            "name": f"{pool.node}-{pool.driver}-{index}",
            "ownerReferences": [owner],
        },
        "spec": {
            "driver": pool.driver,
            "nodeName": pool.node,
            "pool": {"name": pool.node, "resourceSliceCount": count},
            "devices": [_device(each, taint_effect) for each in devices],
        },
    }


def _device(device: DraDevice, taint_effect: str) -> Document:
    document: Document = {
        "name": device.name,
        "attributes": {name: _value(value) for name, value in device.attributes.items()},
    }
    if device.capacity:
        # An empty one would not come back from the API server, and count as a change.
        document["capacity"] = {
            name: {"value": _quantity(n)} for name, n in device.capacity.items()
        }
    if device.taints:
        document["taints"] = [
            {"key": key, "value": value, "effect": taint_effect}
            for key, value in sorted(device.taints.items())
        ]
    return document


def _value(value: Value | Version) -> Document:
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
    """Return a number as the API server writes it, so that what it returns compares equal."""
    unit, size = next(((u, n) for u, n in _UNITS if count and count % n == 0), ("", 1))
    return f"{count // size}{unit}"


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
    }
