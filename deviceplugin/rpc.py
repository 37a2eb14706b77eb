"""The kubelet's gRPC services bound with types: one Rpc value per method, used on both sides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

import grpc
import grpc.aio
from google.protobuf.message import Message
from msgspec import Struct

from deviceplugin._generated import deviceplugin_v1beta1_pb2 as plugin_api
from deviceplugin._generated import podresources_v1_pb2 as resources_api

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

Context: TypeAlias = "grpc.aio.ServicerContext[Q, A]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Rpc(Struct, Generic[Q, A], frozen=True, kw_only=True):
    """One method of a service."""

    service: str
    name: str
    request: type[Q]
    answer: type[A]

    @property
    def path(self) -> str:
        """Return the path on the wire."""
        return f"/{self.service}/{self.name}"

    def served(self, answer: Callable[[Q, Context[Q, A]], Awaitable[A]]) -> Handler:
        """Return a handler that answers each request once."""
        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=self.request.FromString,
            response_serializer=self.answer.SerializeToString,
        )

    def streamed(self, write: Callable[[Q, Context[Q, A]], Awaitable[None]]) -> Handler:
        """Return a handler that writes any number of answers to its context."""
        return grpc.unary_stream_rpc_method_handler(
            write,
            request_deserializer=self.request.FromString,
            response_serializer=self.answer.SerializeToString,
        )

    def on(self, channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable[Q, A]:
        """Return the method as a callable of a channel."""
        return channel.unary_unary(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.answer.FromString,
        )

    def stream_on(self, channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamMultiCallable[Q, A]:
        """Return a streaming method as a callable of a channel."""
        return channel.unary_stream(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.answer.FromString,
        )


_REGISTRATION = "v1beta1.Registration"
_PLUGIN = "v1beta1.DevicePlugin"
_POD_RESOURCES = "v1.PodResourcesLister"

REGISTER = Rpc(
    service=_REGISTRATION,
    name="Register",
    request=plugin_api.RegisterRequest,
    answer=plugin_api.Empty,
)
OPTIONS = Rpc(
    service=_PLUGIN,
    name="GetDevicePluginOptions",
    request=plugin_api.Empty,
    answer=plugin_api.DevicePluginOptions,
)
LIST_AND_WATCH = Rpc(
    service=_PLUGIN,
    name="ListAndWatch",
    request=plugin_api.Empty,
    answer=plugin_api.ListAndWatchResponse,
)
PREFER = Rpc(
    service=_PLUGIN,
    name="GetPreferredAllocation",
    request=plugin_api.PreferredAllocationRequest,
    answer=plugin_api.PreferredAllocationResponse,
)
ALLOCATE = Rpc(
    service=_PLUGIN,
    name="Allocate",
    request=plugin_api.AllocateRequest,
    answer=plugin_api.AllocateResponse,
)
PRE_START = Rpc(
    service=_PLUGIN,
    name="PreStartContainer",
    request=plugin_api.PreStartContainerRequest,
    answer=plugin_api.PreStartContainerResponse,
)
LIST_PODS = Rpc(
    service=_POD_RESOURCES,
    name="List",
    request=resources_api.ListPodResourcesRequest,
    answer=resources_api.ListPodResourcesResponse,
)
GET_POD = Rpc(
    service=_POD_RESOURCES,
    name="Get",
    request=resources_api.GetPodResourcesRequest,
    answer=resources_api.GetPodResourcesResponse,
)
LIST_ALLOCATABLE = Rpc(
    service=_POD_RESOURCES,
    name="GetAllocatableResources",
    request=resources_api.AllocatableResourcesRequest,
    answer=resources_api.AllocatableResourcesResponse,
)

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # A channel to a socket that was dead a moment ago must not inherit the back-off of the
    # channel before it, which gRPC otherwise shares by address.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def target(socket: Path) -> str:
    """Return the gRPC address of a unix socket; gRPC reads it as a URI."""
    return f"unix:{quote(str(socket))}"


def open_channel(socket: Path) -> grpc.aio.Channel:
    """Return a channel to a unix socket; it connects at the first call."""
    return grpc.aio.insecure_channel(target(socket), options=_CHANNEL_OPTIONS)


def bind(server: grpc.aio.Server, service: str, handlers: dict[Rpc[Any, Any], Handler]) -> None:
    """Add one service to a server that has not started."""
    by_name = {rpc.name: handler for rpc, handler in handlers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, by_name),))


def serve_registration(server: grpc.aio.Server, register: Handler) -> None:
    """Add the kubelet's Registration service."""
    bind(server, _REGISTRATION, {REGISTER: register})


def serve_plugin(server: grpc.aio.Server, handlers: dict[Rpc[Any, Any], Handler]) -> None:
    """Add the DevicePlugin service."""
    bind(server, _PLUGIN, handlers)


def serve_pod_resources(server: grpc.aio.Server, handlers: dict[Rpc[Any, Any], Handler]) -> None:
    """Add the kubelet's PodResourcesLister service."""
    bind(server, _POD_RESOURCES, handlers)
