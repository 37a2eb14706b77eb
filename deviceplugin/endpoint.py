"""One gRPC server on one socket file of the kubelet's directory."""

from __future__ import annotations

from pathlib import Path

import grpc.aio

from deviceplugin import sockets
from deviceplugin.files import FileIdentity, identify_socket
from deviceplugin.service import Service

PRIVATE_PREFIX = ".pl-"
# A kubelet that does not take what was written gets this long when its stream is ended.
_STOP_GRACE_S = 0.2


class Endpoint:
    """Serves one Service at one path."""

    def __init__(self, path: Path, service: Service) -> None:
        """Prepare; nothing is served yet."""
        self.path = path
        self.service = service
        self._server = grpc.aio.server()
        self._identity: FileIdentity | None = None
        service.add_to(self._server)

    async def open(self) -> None:
        """Start to serve. Raises OSError when the socket cannot be made."""
        self._identity = await sockets.start_at(self._server, self.path, prefix=PRIVATE_PREFIX)

    @property
    def intact(self) -> bool:
        """Return whether the socket at the path is still the one this server serves."""
        return self._identity is not None and identify_socket(self.path) == self._identity

    async def close(self) -> None:
        """End the streams, stop the server, remove the socket if it is still ours."""
        self.service.finish()
        await self._server.stop(_STOP_GRACE_S)
        if self.intact:
            self.path.unlink(missing_ok=True)
        self._identity = None
