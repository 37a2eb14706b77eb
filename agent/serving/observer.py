"""Writes what happens at the kubelet's door to the log."""

from __future__ import annotations

from collections.abc import Callable

from agent.telemetry import logs
from deviceplugin.errors import Holder
from deviceplugin.observer import Call, Observer


class LogObserver(Observer):
    """One line per event; an RPC's two lines share its op id."""

    def __init__(self, *, restarted: Callable[[], None] = lambda: None) -> None:
        """``restarted`` is called as well when another kubelet appears."""
        self._restarted = restarted

    def registered(self, resource: str) -> None:
        """The kubelet accepted a registration."""
        logs.event("registered", resource=resource)

    def register_failed(self, resource: str, reason: str) -> None:
        """A registration failed; it is tried again with back-off."""
        logs.warning("register_failed", resource=resource, reason=reason)

    def stream_opened(self, resource: str) -> None:
        """The kubelet opened a ListAndWatch stream."""
        logs.debug("stream_opened", resource=resource)

    def stream_ended(self, resource: str) -> None:
        """A ListAndWatch stream ended."""
        logs.event("stream_ended", resource=resource)

    def devices_sent(self, resource: str, *, healthy: int, total: int) -> None:
        """A device list was written to a stream."""
        logs.event("devices_sent", resource=resource, healthy=healthy, total=total)

    def withdrawn(self, resource: str) -> None:
        """A resource is no longer offered."""
        logs.event("withdrawn", resource=resource)

    def directory_held(self, holder: Holder | None) -> None:
        """Another instance serves the directory; this one waits for its end."""
        logs.event(
            "standing_by",
            holder=holder or "another instance that left no name",
            doing="taking over when it ends",
        )

    def directory_unusable(self, reason: str) -> None:
        """The kubelet's directory cannot be written; it is tried again."""
        logs.error("kubelet_directory_unusable", reason=reason)

    def kubelet_absent(self) -> None:
        """There is no kubelet.sock."""
        logs.warning("kubelet_absent", doing="waiting for kubelet.sock")

    def kubelet_restarted(self) -> None:
        """A kubelet.sock appeared, or took the place of another one."""
        logs.event("kubelet_restarted")
        self._restarted()

    def checkpoint_lost(self) -> None:
        """The kubelet's note of who holds what was removed; it is made to write it again."""
        logs.warning("kubelet_checkpoint_lost", doing="making the kubelet write it again")

    def own_socket_lost(self, resource: str) -> None:
        """The socket of a resource was removed or replaced by somebody else."""
        logs.warning("own_socket_lost", resource=resource, doing="serving and registering again")

    def preference_repaired(self, resource: str, reason: str) -> None:
        """The preference was unusable; the kubelet got a repaired one."""
        logs.error("preference_repaired", resource=resource, reason=reason)

    def rpc_begin(self, call: Call) -> None:
        """An RPC arrived."""
        logs.debug(
            "rpc_begin",
            op=call.op_id,
            method=call.method,
            resource=call.resource,
            detail=call.detail,
        )

    def rpc_end(self, call: Call, *, error: str | None, duration_s: float) -> None:
        """An RPC was answered."""
        write = logs.debug if error is None else logs.error
        write(
            "rpc_end",
            op=call.op_id,
            method=call.method,
            resource=call.resource,
            error=error or "none",
            duration_ms=f"{1000 * duration_s:.2f}",
        )
