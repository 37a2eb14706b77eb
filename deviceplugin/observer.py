"""What happens at the kubelet's door, told to whoever writes logs and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec

from msgspec import Struct

from deviceplugin.errors import Holder

P = ParamSpec("P")


class Call(Struct, frozen=True, kw_only=True):
    """One RPC from the kubelet."""

    op_id: str
    """Eight hex digits, the same at begin and end; unique within the process."""
    method: str
    resource: str
    detail: str
    """What was asked, in a few words."""


class Observer:
    """Told of events on the event loop; override what is of interest. Must not block.

    What it raises goes to the loop's exception handler and changes nothing for the kubelet.
    """

    def registered(self, resource: str) -> None:
        """The kubelet accepted a registration."""

    def register_failed(self, resource: str, reason: str) -> None:
        """A registration failed; it is tried again with back-off."""

    def stream_opened(self, resource: str) -> None:
        """The kubelet opened a ListAndWatch stream."""

    def stream_ended(self, resource: str) -> None:
        """A ListAndWatch stream ended."""

    def devices_sent(self, resource: str, *, healthy: int, total: int) -> None:
        """A device list was written to a stream."""

    def withdrawn(self, resource: str) -> None:
        """A resource is no longer offered; its server and socket are gone."""

    def directory_held(self, holder: Holder | None) -> None:
        """Another instance serves the directory; this one waits for its end."""

    def directory_unusable(self, reason: str) -> None:
        """The kubelet's directory cannot be written; it is tried again."""

    def kubelet_absent(self) -> None:
        """There is no kubelet.sock."""

    def kubelet_restarted(self) -> None:
        """A kubelet.sock appeared, or took the place of another one."""

    def checkpoint_lost(self) -> None:
        """The kubelet's note of who holds what was removed; it is made to write it again."""

    def own_socket_lost(self, resource: str) -> None:
        """The socket of a resource was removed or replaced by somebody else."""

    def preference_repaired(self, resource: str, reason: str) -> None:
        """The backend's preference was unusable; the kubelet got a repaired one."""

    def rpc_begin(self, call: Call) -> None:
        """An RPC arrived."""

    def rpc_end(self, call: Call, *, error: str | None, duration_s: float) -> None:
        """An RPC was answered; ``error`` is None when it succeeded."""


def notify(event: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Deliver one event; an observer that fails is reported, not felt by the kubelet."""
    try:
        event(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # whatever an observer raises ends here
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"observer failed in {event.__name__}", "exception": error}
        )
