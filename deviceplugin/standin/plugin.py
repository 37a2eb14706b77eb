"""The kubelet's client of one registered plugin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

import grpc
import grpc.aio

from deviceplugin import rpc, wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.values import Device

# What the kubelet gives a plugin to answer when it dials back.
DIAL_TIMEOUT_S = 10.0


class PluginClient:
    """One connection to one plugin socket, with its ListAndWatch stream."""

    def __init__(
        self,
        resource: str,
        socket: Path,
        *,
        received: Callable[[PluginClient, tuple[Device, ...]], None],
        ended: Callable[[PluginClient], None],
    ) -> None:
        """Report each list through ``received`` and the stream's end through ``ended``."""
        self.resource = resource
        self.socket = socket
        self.options = api.DevicePluginOptions()
        self._received = received
        self._ended = ended
        self._channel = rpc.open_channel(socket)
        self._stream: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Dial and read the plugin's options. Raises TimeoutError or grpc.aio.AioRpcError."""
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            await self._channel.channel_ready()
        self.options = await rpc.OPTIONS.on(self._channel)(api.Empty())

    def follow(self, *, after: asyncio.Event | None = None) -> None:
        """Open the stream, once ``after`` is set if given, and follow it in the background."""
        self._stream = asyncio.create_task(self._follow(after))

    async def _follow(self, after: asyncio.Event | None) -> None:
        try:
            if after is not None:
                await after.wait()
            async for message in rpc.LIST_AND_WATCH.stream_on(self._channel)(api.Empty()):
                self._received(self, wire.devices(message))
        except grpc.aio.AioRpcError:
            # To the kubelet, however a stream ends, it has ended.
            pass
        self._ended(self)

    async def prefer(
        self, available: list[str], must_include: list[str], size: int
    ) -> Collection[str]:
        """Ask for a preference; nothing is preferred by a plugin that does not offer it."""
        if not self.options.get_preferred_allocation_available:
            return ()
        request = api.PreferredAllocationRequest(
            container_requests=[
                api.ContainerPreferredAllocationRequest(
                    available_deviceIDs=available,
                    must_include_deviceIDs=must_include,
                    allocation_size=size,
                )
            ]
        )
        answer = await rpc.PREFER.on(self._channel)(request)
        return answer.container_responses[0].deviceIDs if answer.container_responses else ()

    async def allocate(self, device_ids: list[str]) -> api.AllocateResponse:
        """Tell the plugin which devices a container gets. Raises grpc.aio.AioRpcError."""
        request = api.AllocateRequest(
            container_requests=[api.ContainerAllocateRequest(devices_ids=device_ids)]
        )
        return await rpc.ALLOCATE.on(self._channel)(request)

    async def pre_start(self, device_ids: list[str]) -> None:
        """Call PreStartContainer if the plugin asked for it. Raises grpc.aio.AioRpcError."""
        if self.options.pre_start_required:
            request = api.PreStartContainerRequest(devices_ids=device_ids)
            # The one call to which the kubelet gives a deadline.
            await rpc.PRE_START.on(self._channel)(request, timeout=30.0)

    async def close(self) -> None:
        """End the stream and the connection."""
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)
        await self._channel.close()
