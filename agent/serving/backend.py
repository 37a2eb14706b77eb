"""Answers the kubelet's questions from the current snapshot, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from agent.ledger.ledger import Ledger
from agent.model.errors import HardwareError
from agent.model.mig_instance import Device, parent_of
from agent.planning import cdi
from agent.planning.catalog import Catalog
from agent.planning.decision import Question
from agent.planning.device_list import DeviceList, Offer, list_devices
from agent.planning.mps_clients import client_of
from agent.planning.preference import free_gpus, prefer
from agent.planning.sharing import refusal
from agent.planning.snapshot import Snapshot
from agent.serving.afterwards import Afterwards
from agent.serving.decisions import Decisions
from agent.serving.nic_grants import NicGrants
from agent.serving.nics import NicAnswer, give_nics
from deviceplugin.backend import Backend
from deviceplugin.errors import AllocationRefused
from deviceplugin.values import (
    ContainerAllocation,
    DeviceNode,
    Mount,
    PreferenceRequest,
)
from deviceplugin.values import (
    Device as ListedDevice,
)

# gRPC's C core drops an answer whose message has more than 16 KiB; 1,024 Replicas have 47.
_NAMED_AT_MOST = 16


class SnapshotBackend(Backend):
    """Reads whatever snapshot is current at the moment of the call."""

    def __init__(
        self,
        current: Callable[[], Snapshot | None],
        *,
        ledger: Callable[[], Ledger],
        granted: Callable[[str, Sequence[str]], None],
        outdated: Callable[[], None],
        decisions: Decisions,
        nic_grants: NicGrants,
        afterwards: Afterwards,
    ) -> None:
        """``current`` returns the snapshot, or None before the first look.

        ``ledger`` returns what is known of who holds what. ``granted`` is told the resource and
        the devices of every Allocate that succeeds; ``outdated`` is called when the kubelet
        offers what the ledger takes for held.
        """
        self._current = current
        self._ledger = ledger
        self._granted = granted
        self._outdated = outdated
        self._decisions = decisions
        self._nic_grants = nic_grants
        self._afterwards = afterwards

    def prefer(self, resource: str, request: PreferenceRequest) -> Sequence[str]:
        """Return the best devices; why is worked out and logged after the answer is out."""
        snapshot, ledger = self._snapshot(resource), self._ledger()
        nics_taken = tuple(self._nic_grants.occupied(besides=request.available))
        placement = prefer(
            snapshot,
            ledger,
            resource,
            available=request.available,
            must_include=request.must_include,
            size=request.size,
            nics_taken=nics_taken,
        )
        now_s = _now_s()

        def note() -> None:
            question = Question(
                snapshot=snapshot,
                resource=resource,
                size=request.size,
                at_s=now_s,
                offered=request.available,
                free=tuple({*free_gpus(snapshot.catalog, ledger), *_whole(snapshot, request)}),
                preferred=placement,
                must=request.must_include,
                nics_taken=nics_taken,
            )
            self._decisions.asked(question)

        self._afterwards.do(note)
        if not ledger.held.isdisjoint({*request.available} - {*request.must_include}):
            self._outdated()
        return placement.devices

    def allocate(self, resource: str, device_ids: Sequence[str]) -> ContainerAllocation:
        """Return what a container with these devices needs.

        Raises AllocationRefused for a device that is not offered or not healthy: a container
        that starts on a broken GPU fails later and says less.
        """
        try:
            return self._allocate(resource, device_ids)
        except AllocationRefused:
            self._afterwards.do(self._decisions.refused, resource)
            raise

    def _allocate(self, resource: str, device_ids: Sequence[str]) -> ContainerAllocation:
        snapshot, ledger = self._snapshot(resource), self._ledger()
        if (reason := refusal(snapshot.catalog.shared, resource, device_ids)) is not None:
            raise AllocationRefused(reason)
        devices = [_device(snapshot, resource, device) for device in device_ids]
        flags = snapshot.config.flags
        inventory = snapshot.inventory
        offer = Offer(
            control_nodes=inventory.control_nodes,
            cdi_classes=cdi.feature_nodes(inventory.feature_nodes).keys(),
        )
        shares = snapshot.catalog.shared.by_device
        try:
            client = client_of(device_ids, map(parent_of, devices), shares, snapshot.served)
            answer = list_devices(devices, flags, offer, request_id=_uuid, client=client)
        except HardwareError as error:
            raise AllocationRefused(str(error)) from error
        nics_taken, now_s = tuple(self._nic_grants.occupied(besides=device_ids)), _now_s()
        gpus = [parent_of(device) for device in devices]
        nics = give_nics(self._nic_grants, snapshot, resource, device_ids, gpus)
        self._granted(resource, device_ids)

        def note() -> None:
            unasked = Question(
                snapshot=snapshot,
                resource=resource,
                size=len(device_ids),
                at_s=now_s,
                offered=(),
                free=free_gpus(snapshot.catalog, ledger),
                preferred=None,
                nics_taken=nics_taken,
            )
            allotment = nics.allotment if nics else None
            self._decisions.allocated(unasked, tuple(device_ids), allotment)

        self._afterwards.do(note)
        return _allocation(answer, nics)

    def _snapshot(self, resource: str) -> Snapshot:
        snapshot = self._current()
        if snapshot is None:
            raise AllocationRefused(f"{resource}: the node's GPUs have not been read yet")
        return snapshot


def _uuid() -> str:
    return str(uuid4())


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _whole(snapshot: Snapshot, request: PreferenceRequest) -> tuple[str, ...]:
    """Return the GPUs of an offer: what the kubelet offers is free, whatever is written down."""
    gpus = {gpu.uuid for gpu in (*snapshot.inventory.gpus, *snapshot.departed)}
    return tuple(id_ for id_ in request.available if id_ in gpus)


def offered_devices(catalog: Catalog) -> Mapping[str, tuple[ListedDevice, ...]]:
    """Return a Catalog as the kubelet's door takes it."""
    return {
        resource: tuple(
            ListedDevice(id=device.id, healthy=device.healthy, numa_nodes=device.numa_nodes)
            for device in devices
        )
        for resource, devices in catalog.resources.items()
    }


def _device(snapshot: Snapshot, resource: str, device_id: str) -> Device:
    device = snapshot.catalog.find(resource, device_id)
    # A Replica is its device as far as a container is concerned.
    whole = device_id.partition("::")[0]
    given = None if device is None else snapshot.device(whole) or snapshot.gpu(device.gpu)
    if device is None or given is None:
        offered = [each.id for each in snapshot.catalog.resources.get(resource, ())]
        raise AllocationRefused(f"{resource} has no device {device_id}; it offers {_some(offered)}")
    if device.reason is not None:
        raise AllocationRefused(f"{device_id} is unhealthy: {device.reason}")
    return given


def _some(ids: Sequence[str]) -> str:
    if len(ids) <= _NAMED_AT_MOST:
        return ", ".join(ids) or "none"
    return f"{', '.join(ids[:_NAMED_AT_MOST])} and {len(ids) - _NAMED_AT_MOST} more"


def _allocation(answer: DeviceList, nics: NicAnswer | None) -> ContainerAllocation:
    return ContainerAllocation(
        envs={**answer.envs, **(nics.envs if nics else {})},
        mounts=(
            *(
                Mount(
                    container_path=mount.container_path,
                    host_path=mount.host_path,
                    read_only=mount.read_only,
                )
                for mount in answer.mounts
            ),
            *(nics.mounts if nics else ()),
        ),
        device_nodes=(
            *(
                DeviceNode(
                    container_path=node.container_path,
                    host_path=node.host_path,
                    permissions=node.permissions,
                )
                for node in answer.device_nodes
            ),
            *(nics.device_nodes if nics else ()),
        ),
        annotations=answer.annotations,
        cdi_devices=answer.cdi_devices,
    )
