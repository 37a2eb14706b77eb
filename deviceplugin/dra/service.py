"""Answers the kubelet's DRA RPCs on one socket, in every version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import grpc.aio

from deviceplugin import rpc
from deviceplugin._generated import dra_health_v1alpha1_pb2 as health_api
from deviceplugin._generated import dra_v1_pb2 as api
from deviceplugin.dra import rpcs, wire
from deviceplugin.dra.backend import ClaimBackend
from deviceplugin.dra.values import ClaimRef, DeviceHealth, Refused
from deviceplugin.pulse import Pulse

T = TypeVar("T")

# A list holds so long for the kubelet, and is sent again in a third of it.
HEALTH_HOLDS_S = 30
_REPEAT_S = HEALTH_HOLDS_S / 3


class DraService:
    """The RPCs of one driver; every health stream sees each change."""

    def __init__(self, backend: ClaimBackend) -> None:
        """Begin without a word on health."""
        self._backend = backend
        self._health: tuple[DeviceHealth, ...] = ()
        self._pulse = Pulse()
        self._finishing = False

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on a server that has not started."""
        for version, prepare in rpcs.PREPARE.items():
            unprepare = rpcs.UNPREPARE[version]
            handlers: dict[rpc.Rpc[Any, Any], rpc.Handler] = {
                prepare: prepare.served(self._prepare),
                unprepare: unprepare.served(self._unprepare),
            }
            rpc.bind(server, prepare.service, handlers)
        watch = rpcs.WATCH_HEALTH
        rpc.bind(server, watch.service, {watch: watch.streamed(self._watch_health)})

    def tell(self, health: Sequence[DeviceHealth]) -> None:
        """Tell the kubelet of the health of every device."""
        self._health = tuple(health)
        self._pulse.fire()

    def finish(self) -> None:
        """End the streams, without an error to the kubelet."""
        self._finishing = True
        self._pulse.fire()

    async def _prepare(
        self,
        request: api.NodePrepareResourcesRequest,
        _context: rpc.Context[api.NodePrepareResourcesRequest, api.NodePrepareResourcesResponse],
    ) -> api.NodePrepareResourcesResponse:
        asked = wire.claims(request.claims)
        try:
            found = await self._backend.prepare(asked)
        except Exception as error:  # noqa: BLE001 - an RPC that raises says nothing to the pod
            return wire.prepare_answer(_of_none(asked, error))
        return wire.prepare_answer(_complete(asked, found))

    async def _unprepare(
        self,
        request: api.NodeUnprepareResourcesRequest,
        _context: rpc.Context[
            api.NodeUnprepareResourcesRequest, api.NodeUnprepareResourcesResponse
        ],
    ) -> api.NodeUnprepareResourcesResponse:
        asked = wire.claims(request.claims)
        try:
            found = await self._backend.unprepare(asked)
        except Exception as error:  # noqa: BLE001 - as above
            return wire.unprepare_answer(_of_none(asked, error))
        return wire.unprepare_answer(_complete(asked, found))

    async def _watch_health(
        self,
        _request: health_api.NodeWatchResourcesRequest,
        context: rpc.Context[
            health_api.NodeWatchResourcesRequest, health_api.NodeWatchResourcesResponse
        ],
    ) -> None:
        while not self._finishing:
            sent = self._health
            await context.write(wire.health_list(sent, HEALTH_HOLDS_S))
            await self._pulse.until(partial(self._has_news, sent), timeout_s=_REPEAT_S)

    def _has_news(self, sent: Sequence[DeviceHealth]) -> bool:
        return self._finishing or self._health != sent


def _complete(asked: Sequence[ClaimRef], found: Mapping[str, T]) -> dict[str, T | Refused]:
    """Return an answer for every claim that was asked for, and for no other."""
    missing = Refused(reason="the agent gave no answer for it; see its log")
    return {claim.uid: found.get(claim.uid, missing) for claim in asked}


def _of_none(asked: Sequence[ClaimRef], error: Exception) -> dict[str, Refused]:
    reason = Refused(reason=f"the agent failed: {type(error).__name__}: {error}")
    return {claim.uid: reason for claim in asked}
