"""Registers one socket with the kubelet."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio

from deviceplugin import rpc, wire
from deviceplugin.errors import DevicePluginError


class RegistrationFailed(DevicePluginError):  # noqa: N818  # as in errors
    """The kubelet did not accept a registration; the message says why."""


async def register(kubelet_socket: Path, resource: str, *, endpoint: str, timeout_s: float) -> None:
    """Register ``resource``, served on the socket named ``endpoint``.

    Raises RegistrationFailed when the kubelet refuses, does not answer in time or is gone.
    """
    request = wire.register_request(resource, endpoint)
    async with rpc.open_channel(kubelet_socket) as channel:
        try:
            await rpc.REGISTER.on(channel)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                reason = f"no answer within {timeout_s:g} s"
            else:
                reason = f"{error.code().name}: {error.details()}"
            raise RegistrationFailed(reason) from error
