"""A glance at the node's RDMA devices: which there are, and which ports are up."""

from __future__ import annotations

import contextlib

from agent.model.machine import Machine


def link_states(machine: Machine) -> frozenset[tuple[str, str]]:
    """Return every RDMA device by name, and the state of each of its ports by path.

    ``/sys/class/infiniband/<device>/ports/<n>/state``, as in ``4: ACTIVE``. What cannot be read is
    left out: the next look at the node says why.
    """
    found = set()
    with contextlib.suppress(OSError):
        for device in machine.path("/sys/class/infiniband").iterdir():
            found.add((device.name, ""))
            for state in device.glob("ports/*/state"):
                with contextlib.suppress(OSError):
                    found.add((f"{device.name}/{state.parent.name}", state.read_text()))
    return frozenset(found)
