"""A device plugin of the tests' own: it serves what it is told to, and writes down what is asked.

It speaks to a real kubelet and to the stand-in alike, and does what the agent never would.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from deviceplugin import names, rpc, wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.values import Device
from testbed import waiting

if TYPE_CHECKING:
    from testbed.cluster import Cluster

_DIALS_S = 15.0
_numbers = itertools.count(1)


class Refused(Exception):
    """Raised by a plugin's answer to make its call fail with this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked, as it came."""

    method: str
    available: tuple[str, ...] = ()
    must_include: tuple[str, ...] = ()
    size: int = 0
    device_ids: tuple[tuple[str, ...], ...] = ()
    """Of Allocate: the devices of each container of the request."""

    @property
    def sorted(self) -> Call:
        """Return the call without the order of its ids."""
        return Call(
            method=self.method,
            available=tuple(sorted(self.available)),
            must_include=tuple(sorted(self.must_include)),
            size=self.size,
            device_ids=tuple(tuple(sorted(ids)) for ids in self.device_ids),
        )


def last_ones(call: Call) -> Sequence[str]:
    """Prefer what must be included and then the last names: an answer without any chance in it."""
    others = sorted(set(call.available) - set(call.must_include))
    return [*call.must_include, *others[len(others) - (call.size - len(call.must_include)) :]]


class BarePlugin:
    """One resource on one socket.

    ``prefer`` and ``allocate`` may be replaced at any time; ``calls`` lists everything asked.
    """

    def __init__(
        self, folder: Path, resource: str | None = None, devices: Sequence[Device] = ()
    ) -> None:
        """Serve a resource, by default one of a name of its own, in a device-plugin folder."""
        number = next(_numbers)
        self.resource = resource or f"plumbline.test/r{number}"
        self.socket = folder / f"bare-{number}.sock"
        self.calls: list[Call] = []
        self.prefer: Callable[[Call], Sequence[str]] | None = last_ones
        self.allocate: Callable[[Call], api.ContainerAllocateResponse] = lambda _: (
            api.ContainerAllocateResponse()
        )
        self.message = wire.device_list(devices)
        """What is listed, as it goes over the wire."""
        self._folder = folder
        self._changed = threading.Condition()
        self._ending = False
        self._streams = 0
        self._opened = 0
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16))
        rpc.bind(
            self._server,
            "v1beta1.DevicePlugin",
            {
                rpc.OPTIONS: rpc.OPTIONS.served(self._options),
                rpc.LIST_AND_WATCH: rpc.LIST_AND_WATCH.streamed(self._list_and_watch),
                rpc.PREFER: rpc.PREFER.served(self._prefer),
                rpc.ALLOCATE: rpc.ALLOCATE.served(self._allocate),
            },
        )

    # What it does

    def start(self) -> BarePlugin:
        """Serve and register."""
        self.serve()
        self.register()
        return self

    def serve(self) -> None:
        """Serve the socket; nobody knows of it yet."""
        self._server.add_insecure_port(rpc.target(self.socket))
        self._server.start()

    def register(self, *, timeout_s: float = _DIALS_S, **fields: str) -> None:
        """Register; ``fields`` replace those of the request. Raises grpc.RpcError."""
        said: dict[str, Any] = {
            "version": wire.API_VERSION,
            "endpoint": self.socket.name,
            "resource_name": self.resource,
        }
        with grpc.insecure_channel(rpc.target(self._folder / names.KUBELET_SOCKET)) as channel:
            call = channel.unary_unary(
                rpc.REGISTER.path,
                request_serializer=api.RegisterRequest.SerializeToString,
                response_deserializer=api.Empty.FromString,
            )
            call(api.RegisterRequest(**(said | fields)), timeout=timeout_s)

    def list(self, devices: Sequence[Device]) -> None:
        """List these devices from now on."""
        self.list_raw(wire.device_list(devices))

    def list_raw(self, message: api.ListAndWatchResponse) -> None:
        """List whatever this message says from now on."""
        with self._changed:
            self.message = message
            self._changed.notify_all()

    def end_streams(self) -> None:
        """End the streams, and go on serving."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            self._await(lambda: not self._streams)
            self._ending = False

    def stop(self) -> None:
        """End everything."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._server.stop(0.5).wait()

    # What was seen

    @property
    def streams(self) -> int:
        """Return how many streams are open."""
        return self._streams

    def wait_streams(self, count: int, *, opened: int | None = None) -> None:
        """Wait until so many streams are open, and so many were opened in all."""
        with self._changed:
            self._await(
                lambda: self._streams == count and (opened is None or self._opened == opened)
            )

    def count(self, method: rpc.Rpc[Any, Any]) -> int:
        """Return how often a method was called."""
        return sum(call.method == method.name for call in self.calls)

    def _await(self, condition: Callable[[], bool]) -> None:
        if not self._changed.wait_for(condition, timeout=_DIALS_S):
            raise TimeoutError(
                f"{self.resource}: {self._streams} streams open, {self._opened} were opened"
            )

    # Its answers

    def _options(self, _request: Any, _context: grpc.ServicerContext) -> api.DevicePluginOptions:
        self.calls.append(Call(method=rpc.OPTIONS.name))
        return api.DevicePluginOptions(get_preferred_allocation_available=self.prefer is not None)

    def _list_and_watch(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.calls.append(Call(method=rpc.LIST_AND_WATCH.name))
        context.add_callback(self._wake)
        with self._changed:
            self._streams += 1
            self._opened += 1
            self._changed.notify_all()
        message = None
        try:
            while (message := self._next(message, context)) is not None:
                yield message
        finally:
            with self._changed:
                self._streams -= 1
                self._changed.notify_all()

    def _next(self, sent: Any, context: grpc.ServicerContext) -> Any:
        """Return the next list; None when the stream is to end, or was ended."""

        def is_over() -> bool:
            return self._ending or not context.is_active()

        with self._changed:
            self._changed.wait_for(lambda: is_over() or self.message is not sent)
            return None if is_over() else self.message

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _prefer(
        self, request: api.PreferredAllocationRequest, context: grpc.ServicerContext
    ) -> api.PreferredAllocationResponse:
        (asked,) = request.container_requests
        call = Call(
            method=rpc.PREFER.name,
            available=tuple(asked.available_deviceIDs),
            must_include=tuple(asked.must_include_deviceIDs),
            size=asked.allocation_size,
        )
        self.calls.append(call)
        return self._answered(context, lambda: wire.preference_answer([self.prefer(call)]))

    def _allocate(
        self, request: api.AllocateRequest, context: grpc.ServicerContext
    ) -> api.AllocateResponse:
        each = tuple(tuple(asked.devices_ids) for asked in request.container_requests)
        call = Call(method=rpc.ALLOCATE.name, device_ids=each)
        self.calls.append(call)
        return self._answered(
            context, lambda: api.AllocateResponse(container_responses=[self.allocate(call)])
        )

    def _answered(self, context: grpc.ServicerContext, answer: Callable[[], Any]) -> Any:
        try:
            return answer()
        except Refused as refusal:
            return context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))


def wait_healthy(cluster: Cluster, resource: str, ids: Collection[str]) -> None:
    """Wait until these are the healthy devices of a resource to the kubelet itself.

    The node's status follows later; pods that are bound already do not wait for it.
    """
    waiting.poll(
        lambda: _healthy(cluster, resource) == set(ids),
        what=lambda: cluster.explain(f"{resource} has {_healthy(cluster, resource)}, not {ids}"),
    )


def _healthy(cluster: Cluster, resource: str) -> set[str]:
    devices = cluster.node.allocatable_resources().devices
    return {id_ for d in devices if d.resource_name == resource for id_ in d.device_ids}
