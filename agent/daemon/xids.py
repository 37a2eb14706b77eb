"""What an Xid event is about."""

from __future__ import annotations

from agent.discovery.events import XidEvent
from agent.planning.snapshot import Snapshot
from agent.planning.strategy import in_mig_mode


def struck_by(event: XidEvent, snapshot: Snapshot | None) -> tuple[str, ...]:
    """Return the UUIDs of what an Xid strikes: a GPU, or its MigInstances that the driver names.

    None at all for an instance that is not known: one that was not seen yet, or is no more.
    """
    if event.gpu_instance is None:
        return (event.uuid,)
    if snapshot is None:
        return ()
    gpu = snapshot.gpu(event.uuid)
    if gpu is not None and in_mig_mode(gpu) and gpu.partition is None:
        # Its instances cannot be seen, and must not be given for sound.
        return (event.uuid,)
    found = snapshot.instances_at(event.uuid, event.gpu_instance, event.compute_instance)
    return tuple(each.uuid for each in found)
