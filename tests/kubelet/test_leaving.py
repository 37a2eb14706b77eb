import asyncio

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.delays import Timing
from deviceplugin.plugins import DevicePlugins

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


async def test_closing_tells_the_kubelet_and_leaves_nothing_behind(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(GPU)
    await kubelet.devices(MIG)

    await plugins.close()
    await bench.task
    await kubelet.disconnected(GPU)
    await kubelet.disconnected(MIG)

    assert kubelet.capacity == {GPU: 0, MIG: 0}
    assert sorted(path.name for path in bench.directory.iterdir()) == [
        "kubelet.sock",
        "kubelet_internal_checkpoint",
    ]
    await plugins.close()


async def test_cancelling_is_as_good_as_closing(bench, kubelet, devices):
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    await bench.end()
    await kubelet.disconnected(GPU)

    assert kubelet.capacity == {GPU: 0}
    assert not (bench.directory / ".plumbline.lock").exists()


async def test_each_stream_sees_an_empty_list_before_its_end(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        stream = aiter(rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty()))
        first = await anext(stream)

        closing = asyncio.create_task(plugins.close())
        rest = [message async for message in stream]
        await closing

    assert [device.ID for device in first.devices] == ["g0"]
    assert rest == [api.ListAndWatchResponse()]


async def test_a_kubelet_that_does_not_read_is_not_waited_for_long(bench, kubelet, devices, notes):
    many = devices(*(f"device-{n:05d}-of-a-long-list-that-fills-the-window" for n in range(4000)))
    plugins = bench.run({GPU: many}, timing=Timing(drain_s=0.1))
    await kubelet.devices(GPU)
    loop = asyncio.get_running_loop()
    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        # A stream whose messages nobody takes: flow control stops the writer.
        stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
        await notes.seen("stream_opened", GPU, times=2)
        await stream.read()
        for left in range(3999, 3994, -1):
            plugins.offer({GPU: many[:left]})
            await kubelet.devices(GPU, lambda known, left=left: len(known) == left)

        begin = loop.time()
        await plugins.close()

        assert 0.1 <= loop.time() - begin < 2.0


async def test_closing_without_a_kubelet_takes_no_time(bench, kubelet, devices, notes):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    await kubelet.stop()
    await notes.seen("stream_ended", GPU)
    begin = asyncio.get_running_loop().time()

    await plugins.close()

    assert asyncio.get_running_loop().time() - begin < 0.5


async def test_closing_before_running_is_final(directory, shelf, devices):
    directory.mkdir()
    plugins = DevicePlugins(kubelet_dir=directory, backend=shelf)
    plugins.offer({GPU: devices("g0")})

    await plugins.close()
    await plugins.run()

    assert list(directory.iterdir()) == []
