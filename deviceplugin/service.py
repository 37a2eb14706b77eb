"""Answers the kubelet's five DevicePlugin RPCs for one resource on one socket."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from msgspec import Struct

from deviceplugin import preference, rpc, wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.backend import Backend
from deviceplugin.errors import AllocationRefused
from deviceplugin.files import FileIdentity
from deviceplugin.observer import Call, Observer, notify
from deviceplugin.offer import Offer
from deviceplugin.pulse import Pulse
from deviceplugin.values import Device, PreferenceRequest

_EIGHT_HEX_DIGITS = 0xFFFF_FFFF
_op_numbers = itertools.count(int.from_bytes(os.urandom(4), "big"))


class Stream(Struct, eq=False, kw_only=True):
    """One open ListAndWatch call."""

    kubelet: FileIdentity | None
    """The kubelet.sock that was there when the stream was opened."""
    opened_s: float
    """Time of the event loop."""
    sent: tuple[Device, ...] | None = None
    """What the kubelet was told last."""
    sent_s: float = 0.0
    """When; time of the event loop."""


class Service:
    """The RPCs of one resource; every stream sees each change of the offer, once."""

    def __init__(
        self,
        resource: str,
        offer: Offer,
        *,
        backend: Backend,
        observer: Observer,
        pulse: Pulse,
        kubelet: Callable[[], FileIdentity | None],
        stream_ended: Callable[[Stream], None],
    ) -> None:
        """Fire ``pulse`` whenever a stream opens, has sent or ends."""
        self.streams: set[Stream] = set()
        self._resource = resource
        self._offer = offer
        self._backend = backend
        self._observer = observer
        self._pulse = pulse
        self._kubelet = kubelet
        self._stream_ended = stream_ended
        self._finishing = False
        self._last_chosen_s = 0.0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on a server that has not started."""
        handlers: dict[rpc.Rpc[Any, Any], rpc.Handler] = {
            rpc.OPTIONS: rpc.OPTIONS.served(self._options),
            rpc.LIST_AND_WATCH: rpc.LIST_AND_WATCH.streamed(self._list_and_watch),
            rpc.PREFER: rpc.PREFER.served(self._prefer),
            rpc.ALLOCATE: rpc.ALLOCATE.served(self._allocate),
            rpc.PRE_START: rpc.PRE_START.served(self._pre_start),
        }
        rpc.serve_plugin(server, handlers)

    def finish(self) -> None:
        """End the streams, without an error to the kubelet."""
        self._finishing = True
        self._pulse.fire()

    def repeat(self) -> None:
        """Send the list again, unchanged: a kubelet writes down its accounts with each."""
        for stream in self.streams:
            stream.sent = None
        self._pulse.fire()

    def quiet_in_s(self, quiet_s: float) -> float:
        """Return in how many seconds the kubelet has been still for ``quiet_s``.

        Still means: it was told the present list, and nothing it asked since is about an
        earlier one. Without a stream nobody is listening.
        """
        if not self.streams:
            return 0.0
        if any(stream.sent != self._offer.devices for stream in self.streams):
            return quiet_s
        latest_s = max(self._last_chosen_s, *(stream.sent_s for stream in self.streams))
        return max(0.0, latest_s + quiet_s - asyncio.get_running_loop().time())

    async def _options(
        self, _request: api.Empty, _context: rpc.Context[api.Empty, api.DevicePluginOptions]
    ) -> api.DevicePluginOptions:
        with self._observed(rpc.OPTIONS.name, ""):
            return wire.OPTIONS

    async def _list_and_watch(
        self, _request: api.Empty, context: rpc.Context[api.Empty, api.ListAndWatchResponse]
    ) -> None:
        now_s = asyncio.get_running_loop().time()
        stream = Stream(kubelet=self._kubelet(), opened_s=now_s)
        self.streams.add(stream)
        notify(self._observer.stream_opened, self._resource)
        self._pulse.fire()
        try:
            # Also a stream that is opened at the very end learns what is offered.
            while not self._finishing and stream.sent != self._offer.devices:
                devices = self._offer.devices
                await context.write(wire.device_list(devices))
                self._sent(stream, devices)
                await self._pulse.until(
                    lambda: self._finishing or self._offer.devices != stream.sent
                )
        finally:
            self.streams.discard(stream)
            self._stream_ended(stream)
            notify(self._observer.stream_ended, self._resource)
            self._pulse.fire()

    def _sent(self, stream: Stream, devices: tuple[Device, ...]) -> None:
        stream.sent, stream.sent_s = devices, asyncio.get_running_loop().time()
        healthy = sum(device.healthy for device in devices)
        notify(self._observer.devices_sent, self._resource, healthy=healthy, total=len(devices))
        self._pulse.fire()

    async def _prefer(
        self,
        request: api.PreferredAllocationRequest,
        _context: rpc.Context[api.PreferredAllocationRequest, api.PreferredAllocationResponse],
    ) -> api.PreferredAllocationResponse:
        questions = [wire.preference_request(each) for each in request.container_requests]
        detail = "; ".join(
            f"{q.size} of {len(q.available)}, {len(q.must_include)} given" for q in questions
        )
        with self._observed(rpc.PREFER.name, detail, choice=True):
            return wire.preference_answer([self._preferred(q) for q in questions])

    def _preferred(self, request: PreferenceRequest) -> Sequence[str]:
        try:
            answer = tuple(self._backend.prefer(self._resource, request))
            reason = preference.fault(request, answer)
        except Exception as error:  # noqa: BLE001  # a preference must never fail a pod
            answer, reason = (), f"{type(error).__name__}: {error}"
        if reason is None:
            return answer
        notify(self._observer.preference_repaired, self._resource, reason)
        return preference.repair(request, answer)

    async def _allocate(
        self,
        request: api.AllocateRequest,
        context: rpc.Context[api.AllocateRequest, api.AllocateResponse],
    ) -> api.AllocateResponse:
        asked = [tuple(each.devices_ids) for each in request.container_requests]
        detail = "; ".join(", ".join(ids) for ids in asked)
        try:
            with self._observed(rpc.ALLOCATE.name, detail, choice=True):
                given = [self._backend.allocate(self._resource, ids) for ids in asked]
                return wire.allocate_answer(given)
        except AllocationRefused as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))
        except Exception as error:  # noqa: BLE001  # told to the kubelet and the observer
            reason = f"allocating {self._resource} failed: {type(error).__name__}: {error}"
            await context.abort(grpc.StatusCode.INTERNAL, reason)

    async def _pre_start(
        self,
        request: api.PreStartContainerRequest,
        _context: rpc.Context[api.PreStartContainerRequest, api.PreStartContainerResponse],
    ) -> api.PreStartContainerResponse:
        with self._observed(rpc.PRE_START.name, ", ".join(request.devices_ids)):
            return api.PreStartContainerResponse()

    @contextmanager
    def _observed(self, method: str, detail: str, *, choice: bool = False) -> Iterator[None]:
        """Tell the observer of a call; ``choice``: it is about devices for a container."""
        op_id = f"{next(_op_numbers) & _EIGHT_HEX_DIGITS:08x}"
        call = Call(op_id=op_id, method=method, resource=self._resource, detail=detail)
        notify(self._observer.rpc_begin, call)
        begin = time.perf_counter()
        failure: str | None = None
        try:
            yield
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            duration_s = time.perf_counter() - begin
            if choice:
                self._last_chosen_s = asyncio.get_running_loop().time()
            notify(self._observer.rpc_end, call, error=failure, duration_s=duration_s)
