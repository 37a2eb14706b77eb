import asyncio

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.delays import Timing

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


async def test_a_resource_that_is_added_leaves_the_others_alone(bench, kubelet, devices, notes):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    await notes.seen("devices_sent", GPU)

    plugins.offer({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(MIG)

    assert kubelet.registrations == [GPU, MIG]
    assert notes.count("stream_opened", GPU) == 1
    assert notes.count("devices_sent", GPU) == 1


async def test_a_resource_that_goes_says_so_and_leaves_the_others_alone(
    bench, kubelet, devices, notes
):
    plugins = bench.run({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(GPU)
    await kubelet.devices(MIG)

    plugins.offer({GPU: devices("g0")})
    await kubelet.disconnected(MIG)
    await notes.seen("withdrawn", MIG)

    # Not only unhealthy: the node has none of it any more.
    assert kubelet.capacity == {GPU: 1, MIG: 0}
    assert not (bench.directory / "nvidia-mig-1g.10gb.sock").exists()
    assert (bench.directory / "nvidia-gpu.sock").is_socket()
    assert notes.count("stream_ended", GPU) == 0
    assert kubelet.registrations.count(GPU) == 1


async def test_a_resource_that_goes_before_its_first_stream_says_so_too(
    bench, kubelet, devices, notes
):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    kubelet.conduct.follow_after = asyncio.Event()
    await kubelet.drop_streams(GPU)
    await notes.seen("registered", GPU, times=2)

    plugins.offer({})
    for _ in range(20):
        await asyncio.sleep(0)
    assert kubelet.capacity == {GPU: 1}
    kubelet.conduct.follow_after.set()
    await notes.seen("withdrawn", GPU)
    await kubelet.disconnected(GPU)

    assert kubelet.capacity == {GPU: 0}


async def test_a_resource_wanted_again_while_it_goes_comes_back(bench, kubelet, devices, notes):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    plugins.offer({})
    plugins.offer({GPU: devices("g1")})
    await kubelet.devices(GPU, lambda known: [*known] == ["g1"])

    assert kubelet.allocatable == {GPU: 1}
    assert (bench.directory / "nvidia-gpu.sock").is_socket()
    assert notes.count("withdrawn", GPU) == 1


async def test_an_offer_made_while_the_kubelet_is_away_is_what_it_finds(
    bench, kubelet, devices, notes
):
    plugins = bench.run({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(GPU)
    await kubelet.devices(MIG)
    await kubelet.stop()
    await notes.seen("stream_ended", GPU)

    plugins.offer({GPU: devices("g0", "g1")})
    await kubelet.start()
    await kubelet.devices(GPU, lambda known: len(known) == 2)

    assert kubelet.registrations.count(MIG) == 1
    assert notes.count("devices_sent", GPU, 1, 1) == 1


async def test_offers_before_run_count_as_one(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0")})
    plugins.offer({MIG: devices("m0")})

    await kubelet.devices(MIG)

    assert kubelet.registrations == [MIG]


def listed(message):
    return {device.ID: device.health for device in message.devices}


async def test_a_device_leaves_the_list_only_when_the_kubelet_is_still(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0", "g1")}, timing=Timing(quiet_s=0.4))
    await kubelet.devices(GPU)
    loop = asyncio.get_running_loop()
    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        stream = aiter(rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty()))
        await anext(stream)

        plugins.offer({GPU: devices("g0")})
        assert listed(await anext(stream)) == {"g0": "Healthy", "g1": "Unhealthy"}
        # It had chosen the device before it read that.
        asked = api.ContainerAllocateRequest(devices_ids=["g1"])
        request = api.AllocateRequest(container_requests=[asked])
        await asyncio.sleep(0.2)
        await rpc.ALLOCATE.on(channel)(request)
        answered_s = loop.time()

        assert listed(await anext(stream)) == {"g0": "Healthy"}
        assert loop.time() - answered_s >= 0.4
    assert bench.shelf.allocated == [(GPU, frozenset({"g1"}))]


async def test_a_device_that_comes_back_while_it_goes_was_never_away(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0", "g1")}, timing=Timing(quiet_s=0.2))
    await kubelet.devices(GPU)
    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        stream = aiter(rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty()))
        await anext(stream)
        plugins.offer({GPU: devices("g0")})
        await anext(stream)

        plugins.offer({GPU: devices("g0", "g1", "g2")})

        everything = dict.fromkeys(("g0", "g1", "g2"), "Healthy")
        assert listed(await anext(stream)) == everything
        plugins.offer({GPU: devices("g0", "g1", "g2", healthy=False)})
        # The next list is this change, not a late leave-taking.
        assert listed(await anext(stream)) == dict.fromkeys(everything, "Unhealthy")


async def test_a_resource_that_goes_may_be_told_to_hurry(bench, kubelet, devices, notes):
    plugins = bench.run({GPU: devices("g0")}, timing=Timing(quiet_s=60))
    await kubelet.devices(GPU)
    plugins.offer({})
    await notes.seen("devices_sent", GPU, 0, 1)

    await asyncio.wait_for(plugins.close(), 5)

    await kubelet.disconnected(GPU)
    assert kubelet.allocatable == {GPU: 0}
    assert notes.count("devices_sent", GPU, 0, 0) == 0
