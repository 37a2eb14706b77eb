"""Between our values and the kubelet's messages; the only place that knows both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.values import (
    ContainerAllocation,
    Device,
    DeviceNode,
    Mount,
    PreferenceRequest,
)

API_VERSION = "v1beta1"
HEALTHY = "Healthy"
UNHEALTHY = "Unhealthy"

OPTIONS = api.DevicePluginOptions(pre_start_required=False, get_preferred_allocation_available=True)


def register_request(resource: str, endpoint: str) -> api.RegisterRequest:
    """Return the registration of a resource served on the socket named ``endpoint``."""
    return api.RegisterRequest(
        version=API_VERSION, endpoint=endpoint, resource_name=resource, options=OPTIONS
    )


def device_list(devices: Iterable[Device]) -> api.ListAndWatchResponse:
    """Return the message that announces these devices."""
    message = api.ListAndWatchResponse()
    for device in devices:
        _announce(message.devices.add(), device)
    return message


def _announce(listed: api.Device, device: Device) -> None:
    # Field by field: with a thousand Replicas the constructor's way takes twice as long.
    listed.ID = device.id
    listed.health = HEALTHY if device.healthy else UNHEALTHY
    # No topology at all and a topology without nodes differ to the kubelet: it leaves a device
    # with the latter out of what PodResources calls allocatable.
    if device.numa_nodes:
        listed.topology.CopyFrom(_topology(device.numa_nodes))


@cache
def _topology(numa_nodes: tuple[int, ...]) -> api.TopologyInfo:
    """Return one message for all devices of the same nodes; to be copied, never changed."""
    return api.TopologyInfo(nodes=[api.NUMANode(ID=node) for node in numa_nodes])


def preference_request(
    message: api.ContainerPreferredAllocationRequest,
) -> PreferenceRequest:
    """Return what is asked, its ids sorted."""
    return PreferenceRequest(
        available=tuple(sorted(message.available_deviceIDs)),
        must_include=tuple(sorted(message.must_include_deviceIDs)),
        size=message.allocation_size,
    )


def preference_answer(choices: Iterable[Sequence[str]]) -> api.PreferredAllocationResponse:
    """Return the answer to one request per container."""
    return api.PreferredAllocationResponse(
        container_responses=[
            api.ContainerPreferredAllocationResponse(deviceIDs=ids) for ids in choices
        ]
    )


def allocate_answer(containers: Iterable[ContainerAllocation]) -> api.AllocateResponse:
    """Return the answer to one request per container."""
    return api.AllocateResponse(container_responses=[_container(c) for c in containers])


def _container(allocation: ContainerAllocation) -> api.ContainerAllocateResponse:
    return api.ContainerAllocateResponse(
        envs=allocation.envs,
        mounts=[
            api.Mount(
                container_path=mount.container_path,
                host_path=mount.host_path,
                read_only=mount.read_only,
            )
            for mount in allocation.mounts
        ],
        devices=[
            api.DeviceSpec(
                container_path=node.container_path,
                host_path=node.host_path,
                permissions=node.permissions,
            )
            for node in allocation.device_nodes
        ],
        annotations=allocation.annotations,
        cdi_devices=[api.CDIDevice(name=name) for name in allocation.cdi_devices],
    )


# The other direction, for the kubelet's side of the sockets.


def devices(message: api.ListAndWatchResponse) -> tuple[Device, ...]:
    """Return the devices a message announces."""
    return tuple(
        Device(
            id=device.ID,
            healthy=device.health == HEALTHY,
            numa_nodes=tuple(node.ID for node in device.topology.nodes),
        )
        for device in message.devices
    )


def container_allocation(message: api.ContainerAllocateResponse) -> ContainerAllocation:
    """Return what one container needs."""
    return ContainerAllocation(
        envs=dict(message.envs),
        mounts=tuple(
            Mount(
                container_path=mount.container_path,
                host_path=mount.host_path,
                read_only=mount.read_only,
            )
            for mount in message.mounts
        ),
        device_nodes=tuple(
            DeviceNode(
                container_path=node.container_path,
                host_path=node.host_path,
                permissions=node.permissions,
            )
            for node in message.devices
        ),
        annotations=dict(message.annotations),
        cdi_devices=tuple(device.name for device in message.cdi_devices),
    )
