"""Answers the kubelet's questions from the current snapshot, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from agent.model.errors import HardwareError
from agent.model.inventory import Gpu
from agent.planning import cdi
from agent.planning.catalog import Catalog
from agent.planning.device_list import DeviceList, Offer, list_devices
from agent.planning.placement import Request
from agent.planning.snapshot import Snapshot
from agent.telemetry import logs
from deviceplugin.backend import Backend
from deviceplugin.errors import AllocationRefused
from deviceplugin.values import (
    ContainerAllocation,
    Device,
    DeviceNode,
    Mount,
    PreferenceRequest,
)


class SnapshotBackend(Backend):
    """Reads whatever snapshot is current at the moment of the call."""

    def __init__(
        self,
        current: Callable[[], Snapshot | None],
        *,
        granted: Callable[[str, Sequence[str]], None],
    ) -> None:
        """``current`` returns the snapshot, or None before the first look.

        ``granted`` is told the resource and the devices of every Allocate that succeeds.
        """
        self._current = current
        self._granted = granted

    def prefer(self, resource: str, request: PreferenceRequest) -> Sequence[str]:
        """Return the best-aligned devices, and log why."""
        snapshot = self._snapshot(resource)
        placement = snapshot.placement.choose(
            Request(
                available=request.available,
                must_include=request.must_include,
                size=request.size,
            )
        )
        why = placement.explanation
        logs.soon(
            "placement",
            resource=resource,
            generation=snapshot.generation,
            chosen=placement.devices,
            offered=len(request.available),
            numa_nodes=why.numa_nodes,
            ring_gbps=why.ring_gbps,
            limiting_pair=why.limiting_pair or "none",
            limiting_path=why.limiting_path or "none",
            rails=why.rails or "none",
            runner_up=why.runner_up or "none",
            lost_at=why.lost_at or "none",
            left=why.left_words,
            exact=why.exact,
        )
        return placement.devices

    def allocate(self, resource: str, device_ids: Sequence[str]) -> ContainerAllocation:
        """Return what a container with these devices needs.

        Raises AllocationRefused for a device that is not offered or not healthy: a container
        that starts on a broken GPU fails later and says less.
        """
        snapshot = self._snapshot(resource)
        gpus = [_gpu(snapshot, resource, device) for device in device_ids]
        flags = snapshot.config.flags
        inventory = snapshot.inventory
        offer = Offer(
            control_nodes=inventory.control_nodes,
            cdi_classes=cdi.feature_nodes(inventory.feature_nodes).keys(),
        )
        try:
            answer = list_devices(gpus, flags, offer, request_id=str(uuid4()))
        except HardwareError as error:
            raise AllocationRefused(str(error)) from error
        self._granted(resource, device_ids)
        logs.soon("allocated", resource=resource, devices=tuple(device_ids))
        return _allocation(answer)

    def _snapshot(self, resource: str) -> Snapshot:
        snapshot = self._current()
        if snapshot is None:
            raise AllocationRefused(f"{resource}: the node's GPUs have not been read yet")
        return snapshot


def offered_devices(catalog: Catalog) -> Mapping[str, tuple[Device, ...]]:
    """Return a Catalog as the kubelet's door takes it."""
    return {
        resource: tuple(
            Device(id=device.id, healthy=device.healthy, numa_nodes=device.numa_nodes)
            for device in devices
        )
        for resource, devices in catalog.resources.items()
    }


def _gpu(snapshot: Snapshot, resource: str, device_id: str) -> Gpu:
    device = snapshot.catalog.find(resource, device_id)
    gpu = snapshot.gpu(device.gpu) if device is not None else None
    if device is None or gpu is None:
        offered = snapshot.catalog.resources.get(resource, ())
        raise AllocationRefused(
            f"{resource} has no device {device_id}; it offers"
            f" {', '.join(each.id for each in offered) or 'none'}"
        )
    if device.reason is not None:
        raise AllocationRefused(f"{device_id} is unhealthy: {device.reason}")
    return gpu


def _allocation(answer: DeviceList) -> ContainerAllocation:
    return ContainerAllocation(
        envs=answer.envs,
        mounts=tuple(
            Mount(
                container_path=mount.container_path,
                host_path=mount.host_path,
                read_only=mount.read_only,
            )
            for mount in answer.mounts
        ),
        device_nodes=tuple(
            DeviceNode(
                container_path=node.container_path,
                host_path=node.host_path,
                permissions=node.permissions,
            )
            for node in answer.device_nodes
        ),
        annotations=answer.annotations,
        cdi_devices=answer.cdi_devices,
    )
