"""Answers the kubelet's questions about a driver whose registration socket it has found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio

from deviceplugin import rpc
from deviceplugin._generated import pluginregistration_v1_pb2 as api
from deviceplugin.dra import rpcs


class Registration:
    """The RPCs by which one driver is registered."""

    def __init__(
        self, driver: str, endpoint: Path, registered: Callable[[str | None], None]
    ) -> None:
        """``endpoint`` is the socket that the driver is served at.

        ``registered`` is called when the kubelet has taken the driver (None) or refused it.
        """
        self._driver = driver
        self._endpoint = endpoint
        self._registered = registered

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on a server that has not started."""
        handlers: dict[rpc.Rpc[Any, Any], rpc.Handler] = {
            rpcs.GET_INFO: rpcs.GET_INFO.served(self._info),
            rpcs.NOTIFY: rpcs.NOTIFY.served(self._notified),
        }
        rpc.bind(server, rpcs.GET_INFO.service, handlers)

    def finish(self) -> None:
        """Do nothing: there are no streams to end."""

    async def _info(
        self, _request: api.InfoRequest, _context: rpc.Context[api.InfoRequest, api.PluginInfo]
    ) -> api.PluginInfo:
        return api.PluginInfo(
            type=rpcs.PLUGIN_TYPE,
            name=self._driver,
            endpoint=str(self._endpoint),
            supported_versions=rpcs.SUPPORTED,
        )

    async def _notified(
        self,
        request: api.RegistrationStatus,
        _context: rpc.Context[api.RegistrationStatus, api.RegistrationStatusResponse],
    ) -> api.RegistrationStatusResponse:
        self._registered(None if request.plugin_registered else request.error or "no reason given")
        return api.RegistrationStatusResponse()
