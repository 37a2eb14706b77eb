import asyncio

import pytest

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.errors import InvalidResourceName, SocketPathTooLong
from deviceplugin.plugins import DevicePlugins
from deviceplugin.standin import Kubelet
from deviceplugin.values import Device

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


async def test_each_resource_is_registered_once_on_the_socket_upstream_uses(
    bench, kubelet, devices
):
    bench.run({GPU: devices("g0", "g1"), MIG: devices("m0")})

    await kubelet.devices(GPU)
    await kubelet.devices(MIG)

    assert sorted(kubelet.registrations) == [GPU, MIG]
    assert kubelet.capacity == {GPU: 2, MIG: 1}
    assert (bench.directory / "nvidia-gpu.sock").is_socket()
    assert (bench.directory / "nvidia-mig-1g.10gb.sock").is_socket()


async def test_health_and_numa_nodes_reach_the_kubelet(bench, kubelet):
    offered = [
        Device(id="a", healthy=True, numa_nodes=(0,)),
        Device(id="b", healthy=True, numa_nodes=(1, 3)),
        Device(id="c", healthy=False),
    ]
    bench.run({GPU: offered})

    known = await kubelet.devices(GPU)

    assert known == {device.id: device for device in offered}
    assert (kubelet.capacity[GPU], kubelet.allocatable[GPU]) == (3, 2)


async def test_a_device_without_numa_nodes_has_no_topology_on_the_wire(bench, kubelet, devices):
    bench.run({GPU: [Device(id="a", healthy=True), *devices("b", numa=(0,))]})
    await kubelet.devices(GPU)

    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        message = await anext(aiter(rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())))

    assert [device.HasField("topology") for device in message.devices] == [False, True]
    assert message.devices[1].topology.nodes[0].ID == 0


async def test_options_offer_preferences_and_need_no_pre_start(bench, kubelet, devices):
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        options = await rpc.OPTIONS.on(channel)(api.Empty())
        started = await rpc.PRE_START.on(channel)(api.PreStartContainerRequest(devices_ids=["g0"]))

    assert options == api.DevicePluginOptions(
        pre_start_required=False, get_preferred_allocation_available=True
    )
    assert started == api.PreStartContainerResponse()


async def test_the_register_request_carries_the_options(bench, directory, devices):
    arrived = asyncio.get_running_loop().create_future()

    class Recorder(Kubelet):
        async def _register(self, request, context):
            arrived.set_result(request)
            return await super()._register(request, context)

    async with Recorder(directory) as kubelet:
        bench.run({GPU: devices("g0")})
        await kubelet.devices(GPU)
        await bench.end()

    assert await arrived == api.RegisterRequest(
        version="v1beta1",
        endpoint="nvidia-gpu.sock",
        resource_name=GPU,
        options=api.DevicePluginOptions(get_preferred_allocation_available=True),
    )


async def test_a_resource_with_no_devices_is_registered_with_an_explicit_zero(bench, kubelet):
    bench.run({GPU: []})

    await kubelet.devices(GPU, lambda known: known == {})

    assert kubelet.capacity == {GPU: 0}


async def test_every_change_is_told_once_and_no_change_is_not_told(bench, kubelet, devices, notes):
    plugins = bench.run({GPU: devices("g0", "g1")})
    await kubelet.devices(GPU)

    plugins.offer({GPU: devices("g1", "g0")})
    plugins.offer({GPU: devices("g0", "g1")})
    plugins.offer({GPU: devices("g0", "g1", healthy=False)})
    await kubelet.devices(GPU, lambda known: not any(d.healthy for d in known.values()))
    plugins.offer({GPU: devices("g0")})
    await kubelet.devices(GPU, lambda known: [*known] == ["g0"])
    await notes.seen("devices_sent", GPU, 1, 1)

    sent = [event[1:] for event in notes.events if event[0] == "devices_sent"]
    # (healthy, of how many): a device that goes is unhealthy before it leaves the list.
    assert sent == [(GPU, 2, 2), (GPU, 0, 2), (GPU, 1, 2), (GPU, 1, 1)]
    assert kubelet.registrations == [GPU]


async def test_a_second_stream_gets_every_list_too(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        stream = aiter(rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty()))
        first = await anext(stream)
        plugins.offer({GPU: devices("g0", "g1")})
        second = await anext(stream)

    assert [d.ID for d in first.devices] == ["g0"]
    assert [d.ID for d in second.devices] == ["g0", "g1"]
    await kubelet.devices(GPU, lambda known: len(known) == 2)


async def test_a_stale_socket_is_replaced(bench, kubelet, devices):
    stale = bench.directory / "nvidia-gpu.sock"
    stale.write_text("left by somebody")
    (bench.directory / ".pl-1-0").write_text("no socket: not ours to remove")

    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    assert stale.is_socket()
    assert (bench.directory / ".pl-1-0").exists()


async def test_two_vendors_of_one_short_name_get_sockets_of_their_own(bench, kubelet, devices):
    bench.run({"nvidia.com/gpu": devices("a"), "nvidia.org/gpu": devices("b")})

    com = await kubelet.devices("nvidia.com/gpu")
    org = await kubelet.devices("nvidia.org/gpu")

    assert ([*com], [*org]) == (["a"], ["b"])


@pytest.mark.parametrize(
    "name",
    [
        "gpu",
        "nvidia.com/",
        "nvidia.com/-gpu",
        "nvidia.com/a/b",
        "NVIDIA.com/gpu",
        "kubernetes.io/gpu",
        "node.kubernetes.io/gpu",
        "requests.nvidia.com/gpu",
        "nvidia.com/" + 64 * "g",
    ],
)
def test_a_name_the_kubelet_would_refuse_is_refused_first(directory, shelf, devices, name):
    plugins = DevicePlugins(kubelet_dir=directory, backend=shelf)

    with pytest.raises(InvalidResourceName, match="cannot be registered"):
        plugins.offer({name: devices("a")})


def test_a_directory_too_deep_for_a_socket_is_refused_with_its_length(tmp_path, shelf, devices):
    deep = tmp_path / (100 * "d")
    plugins = DevicePlugins(kubelet_dir=deep, backend=shelf)

    with pytest.raises(SocketPathTooLong, match="may have 107"):
        plugins.offer({GPU: devices("a")})


def test_a_device_listed_twice_is_refused(directory, shelf, devices):
    plugins = DevicePlugins(kubelet_dir=directory, backend=shelf)

    with pytest.raises(ValueError, match=r"nvidia\.com/gpu lists a device id twice"):
        plugins.offer({GPU: devices("a", "a")})
