"""Where a plugin registers: in the directory, elsewhere, or nowhere."""

import asyncio
import contextlib

from asyncinotify import Inotify, Mask

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.plugins import DevicePlugins
from deviceplugin.standin import Kubelet
from deviceplugin.values import Device
from tests.kubelet.conftest import Shelf

GPU = "nvidia.com/gpu"
OFFER = {GPU: [Device(id="g0", healthy=True)]}


@contextlib.asynccontextmanager
async def serving(directory, socket):
    plugins = DevicePlugins(kubelet_dir=directory, backend=Shelf(), kubelet_socket=socket)
    plugins.offer(OFFER)
    running = asyncio.create_task(plugins.run())
    try:
        yield
    finally:
        await plugins.close()
        await running


async def test_a_socket_elsewhere_is_found_and_followed(directory):
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    # The kubelet dials back into its own directory: here both are one through a link.
    kubelet = Kubelet(directory, pod_resources=directory.parent / "pr.sock")
    async with kubelet:
        (elsewhere / "registration.sock").symlink_to(kubelet.socket)
        async with serving(directory, str(elsewhere / "registration.sock")):
            assert set(await kubelet.devices(GPU)) == {"g0"}


async def test_nowhere_means_served_but_not_registered(directory):
    async with Kubelet(directory, pod_resources=directory.parent / "pr.sock") as kubelet:
        socket = directory / "nvidia-gpu.sock"
        with Inotify() as inotify:
            inotify.add_watch(directory, Mask.MOVED_TO | Mask.CREATE)
            async with serving(directory, None):
                async with asyncio.timeout(5):
                    while not socket.is_socket():
                        await inotify.get()
                async with rpc.open_channel(socket) as channel:
                    stream = rpc.LIST_AND_WATCH.stream_on(channel)(api.Empty())
                    assert [d.ID for d in (await stream.read()).devices] == ["g0"]
                    stream.cancel()
        assert kubelet.registrations == []
        assert not socket.exists()
