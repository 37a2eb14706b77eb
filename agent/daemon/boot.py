"""Which boot of the node this is."""

from __future__ import annotations

from agent.model.machine import Machine


def boot_id(machine: Machine) -> str:
    """Return what Linux calls this boot (proc(5), sys/kernel/random/boot_id)."""
    return machine.path("/proc/sys/kernel/random/boot_id").read_text().strip()
