import asyncio

import pytest

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.plugins import DevicePlugins

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


def frame(kind, flags, stream, payload):
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def header(name, value):
    """A literal header field without indexing (RFC 7541, 6.2.2), nothing compressed."""
    return b"\x00" + b"".join(bytes([len(text)]) + text for text in (name, value))


HEADERS = b"".join(
    header(*each)
    for each in [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/v1beta1.DevicePlugin/ListAndWatch"),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
)
# HTTP/2 (RFC 9113): preface, empty SETTINGS, HEADERS, DATA with an empty gRPC message.
LIST_AND_WATCH_CALL = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(4, 0, 0, b"")
    + frame(1, 4, 1, HEADERS)
    + frame(0, 1, 1, bytes(5))
)


async def test_closing_tells_the_kubelet_and_leaves_nothing_behind(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(GPU)
    await kubelet.devices(MIG)

    await plugins.close()
    await bench.task
    await kubelet.disconnected(GPU)
    await kubelet.disconnected(MIG)

    assert kubelet.allocatable == {GPU: 0, MIG: 0}
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

    assert kubelet.allocatable == {GPU: 0}
    assert not (bench.directory / ".plumbline.lock").exists()


@pytest.mark.parametrize("turns", range(0, 30, 3))
async def test_a_resource_on_its_way_out_leaves_nothing_when_all_is_cancelled(
    bench, kubelet, devices, turns
):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    plugins.offer({})
    for _ in range(turns):
        await asyncio.sleep(0)
    await bench.end()
    await kubelet.disconnected(GPU)

    assert kubelet.allocatable == {GPU: 0}
    assert not (bench.directory / "nvidia-gpu.sock").exists()


async def test_each_stream_ends_without_a_device_having_left_it(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        stream = aiter(rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty()))
        first = await anext(stream)

        closing = asyncio.create_task(plugins.close())
        rest = [message async for message in stream]
        await closing

    assert [device.ID for device in first.devices] == ["g0"]
    # A kubelet that is about to note one of them would end in a nil pointer.
    assert rest == []


async def test_a_kubelet_that_does_not_read_is_not_waited_for_long(bench, kubelet, devices, notes):
    many = devices(*(f"device-{n:05d}-of-a-list-too-long-for-any-buffer" for n in range(9000)))
    plugins = bench.run({GPU: many})
    await kubelet.devices(GPU)
    loop = asyncio.get_running_loop()
    # Says hello as an HTTP/2 client does, calls ListAndWatch, and never reads a byte.
    _, writer = await asyncio.open_unix_connection(bench.directory / "nvidia-gpu.sock", limit=1)
    writer.write(LIST_AND_WATCH_CALL)
    await notes.seen("stream_opened", GPU, times=2)
    await notes.seen("devices_sent", GPU)

    begin = loop.time()
    await plugins.close()

    assert loop.time() - begin < 2.0
    assert notes.count("devices_sent", GPU, 9000) == 1
    writer.close()


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
