"""What a claim has and the node has no more, as it is listed until the claim ends. Pure.

It is known from the claim alone: an agent that started after a GPU was lost has never seen it.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.planning.dra_cells import cell_with
from agent.planning.dra_devices import (
    PCI_BUS_ID,
    DraDevice,
    ExistingInstance,
    NewInstance,
    NicFunction,
    Subject,
    Value,
    Version,
    WholeGpus,
    attributes,
)


def lost_device(name: str, subject: Subject, addresses: Mapping[str, str]) -> DraDevice:
    """Return a device that nobody can be given, with what its claim tells of it.

    ``addresses`` are those of GPUs on the PCI bus, by UUID.
    """
    facts = attributes(_told(subject, addresses))
    return DraDevice(name=name, subject=subject, attributes=facts, capacity={})


def _told(subject: Subject, addresses: Mapping[str, str]) -> dict[str, Value | Version | None]:
    match subject:
        case WholeGpus(gpus=(uuid,)):
            return {"type": "gpu", "uuid": uuid, PCI_BUS_ID: addresses.get(uuid)}
        case WholeGpus(gpus=gpus):
            return {"type": str(cell_with(gpus).kind), "gpuCount": len(gpus)}
        case ExistingInstance(gpu=gpu, uuid=uuid):
            own = {"type": "mig", "uuid": uuid, "parentUUID": gpu}
            return {**own, PCI_BUS_ID: addresses.get(gpu)}
        case NewInstance(gpu=gpu):
            return {"type": "mig", "parentUUID": gpu, PCI_BUS_ID: addresses.get(gpu)}
        case NicFunction(address=address):
            return {"type": "nic", PCI_BUS_ID: address}
