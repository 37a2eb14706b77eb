"""What the running agent answers on its local socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from agent.ledger.ledger import Ledger
from agent.model.errors import ConfigError, HardwareError
from agent.planning.preference import free_gpus
from agent.planning.sharing_status import sharing_status
from agent.planning.snapshot import Snapshot
from agent.serving.decisions import KEPT, Decisions
from agent.serving.local_socket import check_word


class Inquiries(Struct, frozen=True, kw_only=True):
    """Answers from memory, but for what pods use claims: that the kubelet is asked."""

    decisions: Decisions
    catch_up: Callable[[], None] = lambda: None
    """Called first, so that nothing decided is missing."""
    slice_fault: Callable[[str], str | None] = lambda _: None
    """Returns why the time slice of a GPU is not in force, by its UUID."""
    claims: Callable[[], Awaitable[object] | None] = lambda: None
    """Returns the claims of this node, as list_claims does; None where none are served."""
    mps_pid: Callable[[str], int | None] = lambda _: None
    """Returns which process the MPS daemon of a set is, by the set's name."""

    async def answer(
        self, request: Mapping[str, Any], snapshot: Snapshot | None, ledger: Ledger
    ) -> object:
        """Return the answer to a question; raise PlumblineError for one that has none."""
        match check_word(request, "ask", str):
            case "decisions":
                self.catch_up()
                last = check_word(request, "last", int)
                return self.decisions.find(
                    pod=check_word(request, "pod", str),
                    last=KEPT if last is None else max(1, last),
                )
            case "node":
                return _node(snapshot, ledger)
            case "sharing":
                return self._sharing(snapshot, ledger)
            case "claims":
                claims = self.claims()
                if claims is None:
                    raise ConfigError("no claims are served here: plumbline.mode is device-plugin")
                return await claims
            case other:
                raise ConfigError(
                    f"ask is {other!r}; what can be asked is claims, decisions, node, sharing"
                )

    def _sharing(self, snapshot: Snapshot | None, ledger: Ledger) -> object:
        if snapshot is None:
            raise HardwareError("the agent has not read this node's GPUs yet")
        found = sharing_status(snapshot, ledger, slice_fault=self.slice_fault, pid=self.mps_pid)
        return msgspec.to_builtins(found)


def _node(snapshot: Snapshot | None, ledger: Ledger) -> dict[str, object]:
    if snapshot is None:
        raise HardwareError("the agent has not read this node's GPUs yet")
    holders = ledger.holders()
    return {
        "generation": snapshot.generation,
        "free_gpus": sorted(free_gpus(snapshot.catalog, ledger)),
        "left_out": [
            {"gpu": each.gpu.uuid, "reason": each.reason} for each in snapshot.catalog.left_out
        ],
        "resources": {
            resource: [
                {
                    "id": device.id,
                    "gpu": device.gpu,
                    "numa_nodes": list(device.numa_nodes),
                    "unhealthy": device.reason,
                    "held": device.id in ledger.held,
                    "holder": holders.get(device.id),
                }
                for device in devices
            ]
            for resource, devices in snapshot.catalog.resources.items()
        },
    }
