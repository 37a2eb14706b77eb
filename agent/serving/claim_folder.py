"""Where claims are written down; apart, so that a node without claims loads no more than this."""

from __future__ import annotations

from pathlib import Path

from agent.model.machine import Machine


def claims_folder(machine: Machine) -> Path:
    """Return where claims for GPUs of a node are written down."""
    return machine.path("/var/lib/plumbline/claims")


def nic_claims_folder(machine: Machine) -> Path:
    """Return where claims for NICs of a node are written down."""
    return machine.path("/var/lib/plumbline/nic-claims")


def has_claims(machine: Machine) -> bool:
    """Return True when a claim is written down."""
    folder = claims_folder(machine)
    return folder.is_dir() and any(folder.iterdir())
