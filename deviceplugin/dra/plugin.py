"""A DRA driver towards the kubelet: one socket that it is registered by, one that serves it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from deviceplugin.dra.backend import ClaimBackend
from deviceplugin.dra.registration import Registration
from deviceplugin.dra.service import DraService
from deviceplugin.dra.values import DeviceHealth
from deviceplugin.endpoint import PRIVATE_PREFIX, Endpoint, Servable

# How often is looked whether the sockets are still there.
_LOOK_S = 1.0
# An instance that lives takes a connection at once: the kernel does it for it.
_PROBE_S = 0.5
_DIRECTORY_MODE = 0o750
_PRIVATE = f"{PRIVATE_PREFIX}*"


class DraPlugin:
    """Serves one driver until closed; makes its sockets anew when somebody removes them.

    Several instances of a driver can serve beside each other, as in a rolling update: each has
    sockets of its own, named by ``instance``, the UID of its pod.
    """

    def __init__(
        self,
        driver: str,
        backend: ClaimBackend,
        *,
        kubelet_dir: Path,
        instance: str,
        registered: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """``kubelet_dir`` is the kubelet's own, /var/lib/kubelet.

        ``registered`` is called when the kubelet has taken the driver (None) or refused it.
        """
        self._driver = driver
        self._service_path = kubelet_dir / "plugins" / driver / f"dra-{instance}.sock"
        self._registry_path = kubelet_dir / "plugins_registry" / f"{driver}-{instance}-reg.sock"
        self._backend = backend
        self._registered = registered
        self._open: list[Endpoint[Servable]] = []
        self._service: DraService | None = None
        self._health: Sequence[DeviceHealth] = ()
        self._closed = False

    def tell(self, health: Sequence[DeviceHealth]) -> None:
        """Tell the kubelet of the health of every device."""
        self._health = health
        if self._service is not None:
            self._service.tell(health)

    async def run(self) -> None:
        """Serve, until cancelled or closed."""
        while not self._closed:
            if not self._open or not all(each.intact for each in self._open):
                await self._close_sockets()
                try:
                    await self._open_sockets()
                except OSError as error:  # a full disk, a folder that is not there yet
                    self._registered(f"its sockets cannot be made: {error}")
                    await self._close_sockets()
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """End the service and remove its sockets, if they are still ours."""
        self._closed = True
        await self._close_sockets()

    async def _open_sockets(self) -> None:
        for path in (self._service_path, self._registry_path):
            path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        _sweep(self._registry_path.parent, f"{self._driver}-*-reg.sock", _PRIVATE)
        _sweep(self._service_path.parent, "dra-*.sock", _PRIVATE)
        self._service = service = DraService(self._backend)
        service.tell(self._health)
        registration = Registration(self._driver, self._service_path, self._registered)
        # The service first: the kubelet connects as soon as it sees the registry's socket.
        served: dict[Path, Servable] = {
            self._service_path: service,
            self._registry_path: registration,
        }
        for path, servable in served.items():
            endpoint = Endpoint(path, servable)
            await endpoint.open()
            self._open.append(endpoint)

    async def _close_sockets(self) -> None:
        # The registry's socket first: its removal is the end of the registration.
        for each in reversed(self._open):
            await each.close()
        self._open.clear()


def _sweep(folder: Path, *patterns: str) -> None:
    """Remove sockets that instances left that were killed: a kubelet tries them for ever."""
    for path in chain.from_iterable(map(folder.glob, patterns)):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_S)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # nobody knows whether somebody serves it
