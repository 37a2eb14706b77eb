"""What claims have that were prepared before, for an agent that serves none."""

from __future__ import annotations

from pathlib import Path

from agent.model.machine import Machine
from agent.planning.dra_devices import DRIVER
from agent.serving.claim_folder import claims_folder
from agent.serving.claim_specs import devices_given
from agent.serving.claim_store import ClaimStore, held_uuids
from agent.serving.unreadable_claims import UnreadableClaim, held_unreadably
from agent.telemetry import logs


def left_claims(machine: Machine, spec_dir: Path) -> dict[str, str]:
    """Return whose devices are, by UUID: of claims for GPUs. Blocking; raises HardwareError."""
    claims, faults = ClaimStore(claims_folder(machine)).read()
    lost = [
        UnreadableClaim(file=each, devices=devices_given(spec_dir, DRIVER, each.uid))
        for each in faults
        if not each.copied
    ]
    for each in lost:
        logs.error(
            "claim_unreadable",
            error=each.file,
            devices=tuple(sorted(each.devices)),
            doing="holding what it was given",
        )
    return held_unreadably(lost) | held_uuids(claims)
