"""One gRPC server on one socket file of the kubelet's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, Protocol, TypeVar

import grpc.aio

from deviceplugin import sockets
from deviceplugin.files import FileIdentity, identify_socket

# The kubelet skips what begins with a dot.
PRIVATE_PREFIX = ".pl-"
# A kubelet that does not take what was written gets this long when its stream is ended.
_STOP_GRACE_S = 0.2


class Servable(Protocol):
    """RPCs that one server can answer."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on a server that has not started."""
        ...

    def finish(self) -> None:
        """End the streams, without an error to the kubelet."""
        ...


S_co = TypeVar("S_co", bound=Servable, covariant=True)


class Endpoint(Generic[S_co]):
    """Serves one Servable at one path."""

    def __init__(self, path: Path, service: S_co) -> None:
        """Prepare; nothing is served yet."""
        self.path = path
        self._service = service
        self._server = grpc.aio.server()
        self._identity: FileIdentity | None = None
        service.add_to(self._server)

    @property
    def service(self) -> S_co:
        """Return what it serves."""
        return self._service

    async def open(self) -> None:
        """Start to serve. Raises OSError when the socket cannot be made."""
        self._identity = await sockets.start_at(self._server, self.path, prefix=PRIVATE_PREFIX)

    @property
    def intact(self) -> bool:
        """Return whether the socket at the path is still the one this server serves."""
        return self._identity is not None and identify_socket(self.path) == self._identity

    async def close(self) -> None:
        """End the streams, stop the server, remove the socket if it is still ours."""
        self._service.finish()
        await self._server.stop(_STOP_GRACE_S)
        if self.intact:
            self.path.unlink(missing_ok=True)
        self._identity = None
