"""Which devices each container holds, and the kubelet's checkpoint of it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deviceplugin import wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.standin.pods import Allocated

CHECKPOINT_NAME = "kubelet_internal_checkpoint"


class Accounts:
    """Allocations by pod, container and resource."""

    def __init__(self) -> None:
        """Start empty."""
        self._pods: dict[str, dict[tuple[str, str], Allocated]] = {}

    def add(self, uid: str, allocated: Allocated) -> None:
        """Note what a container was given."""
        self._pods.setdefault(uid, {})[allocated.container, allocated.resource] = allocated

    def remove(self, uid: str) -> None:
        """Free everything of a pod."""
        self._pods.pop(uid, None)

    def of_container(self, uid: str, container: str, resource: str) -> Allocated | None:
        """Return what a container holds of a resource."""
        return self._pods.get(uid, {}).get((container, resource))

    def of_pod(self, uid: str) -> tuple[Allocated, ...]:
        """Return everything a pod holds."""
        return tuple(self._pods.get(uid, {}).values())

    def allocated(self, resource: str) -> frozenset[str]:
        """Return the ids of a resource that any container holds."""
        held = (each.device_ids for _, each in self if each.resource == resource)
        return frozenset[str]().union(*held)

    def knows(self, resource: str) -> bool:
        """Return whether any container holds some of a resource."""
        return any(each.resource == resource for _, each in self)

    def __iter__(self) -> Iterator[tuple[str, Allocated]]:
        """Walk all allocations with the pod's uid."""
        for uid, held in self._pods.items():
            for allocated in held.values():
                yield uid, allocated


def write_checkpoint(
    path: Path, accounts: Iterable[tuple[str, Allocated]], registered: Mapping[str, Iterable[str]]
) -> None:
    """Write allocations and healthy devices as the kubelet lays them out.

    Only the checksum differs: the kubelet's is a hash of its own structures in memory.
    """
    entries = [_entry(uid, allocated) for uid, allocated in accounts]
    devices = {resource: sorted(ids) for resource, ids in sorted(registered.items())}
    content = {"PodDeviceEntries": entries, "RegisteredDevices": devices}
    document = {"Data": content, "Checksum": _checksum(content)}
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(document))
    temporary.rename(path)


def read_checkpoint(path: Path) -> tuple[Accounts, frozenset[str]]:
    """Return the allocations and the resources that were registered; empty without a file.

    Raises ValueError for a file that is no checkpoint, or whose checksum does not fit.
    """
    accounts = Accounts()
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return accounts, frozenset()
    if not _is_whole(document):
        raise ValueError(f"checkpoint {path} is damaged")
    content = document["Data"]
    for entry in content["PodDeviceEntries"]:
        accounts.add(entry["PodUID"], _allocated(entry))
    return accounts, frozenset(content["RegisteredDevices"])


def _is_whole(document: object) -> bool:
    if not isinstance(document, dict) or not {"Data", "Checksum"} <= document.keys():
        return False
    return bool(document["Checksum"] == _checksum(document["Data"]))


def _checksum(content: object) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _entry(uid: str, allocated: Allocated) -> dict[str, object]:
    return {
        "PodUID": uid,
        "ContainerName": allocated.container,
        "ResourceName": allocated.resource,
        "DeviceIDs": {str(n): sorted(ids) for n, ids in sorted(allocated.ids_by_node.items())},
        "AllocResp": base64.b64encode(allocated.response).decode(),
    }


def _allocated(entry: dict[str, Any]) -> Allocated:
    response = base64.b64decode(entry["AllocResp"])
    return Allocated(
        container=entry["ContainerName"],
        resource=entry["ResourceName"],
        ids_by_node={int(node): frozenset(ids) for node, ids in entry["DeviceIDs"].items()},
        allocation=wire.container_allocation(api.ContainerAllocateResponse.FromString(response)),
        response=response,
    )
