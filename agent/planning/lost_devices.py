"""What a claim has and the node has no more, as it is listed until the claim ends. Pure.

It is known from the claim alone: an agent that started after a GPU was lost has never seen it.
"""

from __future__ import annotations

from agent.planning.dra_cells import cell_with
from agent.planning.dra_devices import (
    DraDevice,
    ExistingInstance,
    NewInstance,
    NicFunction,
    Subject,
    Value,
    WholeGpus,
)


def lost_device(name: str, subject: Subject) -> DraDevice:
    """Return a device that nobody can be given, with what its claim tells of it."""
    return DraDevice(name=name, subject=subject, attributes=_told(subject), capacity={})


def _told(subject: Subject) -> dict[str, Value]:
    match subject:
        case WholeGpus(gpus=(uuid,)):
            return {"type": "gpu", "uuid": uuid}
        case WholeGpus(gpus=gpus):
            return {"type": str(cell_with(gpus).kind), "gpuCount": len(gpus)}
        case ExistingInstance(gpu=gpu, uuid=uuid):
            return {"type": "mig", "uuid": uuid, "parentUUID": gpu}
        case NewInstance(gpu=gpu):
            return {"type": "mig", "parentUUID": gpu}
        case NicFunction():
            return {"type": "nic"}
