"""What a device stands for, as a claim's file has it, and back. Pure."""

from __future__ import annotations

from agent.model.mig import MigPlacement
from agent.planning.claims import Result
from agent.planning.dra_devices import (
    ExistingInstance,
    NewInstance,
    NicFunction,
    Subject,
    WholeGpus,
)
from agent.serving.claim_store import Place, StoredDevice


def stored_device(
    result: Result, subject: Subject, addresses: tuple[str, ...] = ()
) -> StoredDevice:
    """Return what a claim is to have for a result, before anything is done for it.

    ``addresses`` are those of the subject's GPUs on the PCI bus.
    """
    gpus: tuple[str, ...]
    uuids: tuple[str, ...]
    place = None
    match subject:
        case WholeGpus():
            gpus = uuids = subject.gpus
        case ExistingInstance():
            gpus, uuids = (subject.gpu,), (subject.uuid,)
        case NewInstance(placement=at):
            gpus, uuids = (subject.gpu,), ()
            place = Place(profile=subject.profile, start=at.start, size=at.size)
        case NicFunction():
            gpus, uuids = (), (subject.address,)
    return StoredDevice(
        request=result.request,
        subrequest=result.subrequest,
        pool=result.pool,
        device=result.device,
        gpus=gpus,
        addresses=addresses,
        uuids=uuids,
        place=place,
        admin=result.admin,
        share_id=result.share_id,
    )


def subject_of(device: StoredDevice) -> Subject:
    """Return what a device of a claim stands for."""
    if not device.gpus:
        return NicFunction(address=device.uuids[0])
    if (place := device.place) is not None:
        placement = MigPlacement(start=place.start, size=place.size)
        return NewInstance(gpu=device.gpus[0], profile=place.profile, placement=placement)
    if device.uuids == device.gpus:
        return WholeGpus(gpus=device.gpus)
    return ExistingInstance(gpu=device.gpus[0], uuid=device.uuids[0])
