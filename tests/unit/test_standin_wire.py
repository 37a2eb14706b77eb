"""Field numbers are the contract with kubelets we do not build; they are pinned here."""

import pytest

from deviceplugin import rpc, wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as plugin_api
from deviceplugin._generated import podresources_v1_pb2 as resources_api
from deviceplugin.values import ContainerAllocation, Device, DeviceNode, Mount


def fields(message):
    return {field.name: field.number for field in message.DESCRIPTOR.fields}


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (
            plugin_api.RegisterRequest,
            {"version": 1, "endpoint": 2, "resource_name": 3, "options": 4},
        ),
        (
            plugin_api.DevicePluginOptions,
            {"pre_start_required": 1, "get_preferred_allocation_available": 2},
        ),
        (plugin_api.Device, {"ID": 1, "health": 2, "topology": 3}),
        (
            plugin_api.ContainerPreferredAllocationRequest,
            {"available_deviceIDs": 1, "must_include_deviceIDs": 2, "allocation_size": 3},
        ),
        (
            plugin_api.ContainerAllocateResponse,
            {"envs": 1, "mounts": 2, "devices": 3, "annotations": 4, "cdi_devices": 5},
        ),
        (plugin_api.Mount, {"container_path": 1, "host_path": 2, "read_only": 3}),
        (plugin_api.DeviceSpec, {"container_path": 1, "host_path": 2, "permissions": 3}),
        (resources_api.PodResources, {"name": 1, "namespace": 2, "containers": 3}),
        (
            resources_api.ContainerResources,
            {"name": 1, "devices": 2, "cpu_ids": 3, "memory": 4, "dynamic_resources": 5},
        ),
        (resources_api.ContainerDevices, {"resource_name": 1, "device_ids": 2, "topology": 3}),
        (
            resources_api.DynamicResource,
            {"claim_name": 2, "claim_namespace": 3, "claim_resources": 4},
        ),
        (
            resources_api.ClaimResource,
            {"cdi_devices": 1, "driver_name": 2, "pool_name": 3, "device_name": 4, "share_id": 5},
        ),
    ],
)
def test_fields_have_the_numbers_of_the_kubelets_api(message, numbers):
    assert fields(message) == numbers


def test_methods_have_the_paths_of_the_kubelets_api():
    assert {each.path for each in vars(rpc).values() if isinstance(each, rpc.Rpc)} == {
        "/v1beta1.Registration/Register",
        "/v1beta1.DevicePlugin/GetDevicePluginOptions",
        "/v1beta1.DevicePlugin/ListAndWatch",
        "/v1beta1.DevicePlugin/GetPreferredAllocation",
        "/v1beta1.DevicePlugin/Allocate",
        "/v1beta1.DevicePlugin/PreStartContainer",
        "/v1.PodResourcesLister/List",
        "/v1.PodResourcesLister/Get",
        "/v1.PodResourcesLister/GetAllocatableResources",
    }


def test_a_registration_on_the_wire():
    """Tag 1 version, 2 endpoint, 3 resource, 4 options with field 2 true: byte for byte."""
    request = wire.register_request("nvidia.com/gpu", "nvidia-gpu.sock")

    assert request.SerializeToString() == (
        b"\x0a\x07v1beta1\x12\x0fnvidia-gpu.sock\x1a\x0envidia.com/gpu\x22\x02\x10\x01"
    )


def test_a_device_on_the_wire():
    (message,) = wire.device_list([Device(id="a", healthy=False, numa_nodes=(0, 1))]).devices

    assert message.SerializeToString() == (
        b"\x0a\x01a\x12\x09Unhealthy\x1a\x06\x0a\x00\x0a\x02\x08\x01"
    )


def test_devices_and_allocations_survive_the_wire():
    devices = (
        Device(id="a", healthy=True, numa_nodes=(0, 3)),
        Device(id="b", healthy=False),
    )
    allocation = ContainerAllocation(
        envs={"A": "1"},
        mounts=(Mount(container_path="/c", host_path="/h", read_only=True),),
        device_nodes=(DeviceNode(container_path="/dev/c", host_path="/dev/h", permissions="r"),),
        annotations={"k/v": "w"},
        cdi_devices=("v/c=d",),
    )

    assert wire.devices(wire.device_list(devices)) == devices
    (message,) = wire.allocate_answer([allocation]).container_responses
    assert wire.container_allocation(message) == allocation
