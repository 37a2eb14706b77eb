"""The node's pool of DRA devices, from a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agent.ledger.ledger import Ledger
from agent.model.inventory import Gpu
from agent.planning.dra_devices import (
    DraDevice,
    Offering,
    Subject,
    WholeGpus,
    device_name,
    gpu_device,
)
from agent.planning.dra_order import listed_order
from agent.planning.snapshot import Snapshot
from agent.planning.strategy import DISPLAY_GPUS, in_mig_mode

UNHEALTHY_TAINT = "gpu.nvidia.com/unhealthy"


def pool_offering(snapshot: Snapshot, ledger: Ledger, claimed: Mapping[str, str]) -> Offering:
    """Return what the pool has, in the order in which it is listed.

    ``claimed`` are GPUs that claims have, by UUID, each with the claim's name. What a container
    holds through the device plugin is left out until it ends, unless a claim has it as well: an
    allocated device stays in the pool.
    """
    gpus = {gpu.uuid: gpu for gpu in _offered(snapshot)}
    apart = {uuid for uuid in gpus if _held_otherwise(uuid, snapshot, ledger)}
    listed = [uuid for uuid in gpus if uuid not in apart or uuid in claimed]
    free = [uuid for uuid in listed if uuid not in claimed and not reason(snapshot, uuid)]
    ordered = listed_order(snapshot.placement, listed, free)
    groups = nvlink_groups(snapshot)
    return Offering(
        devices=tuple(_device(gpus[uuid], snapshot, groups.get(uuid)) for uuid in ordered)
    )


def reason(snapshot: Snapshot, uuid: str) -> str | None:
    """Return why a GPU must not be given; None where it may."""
    if snapshot.inventory.gpu(uuid) is None:
        return snapshot.health.reason(uuid) or "the driver no longer lists it"
    return snapshot.health.reason(uuid)


def subjects(snapshot: Snapshot) -> dict[str, Subject]:
    """Return what the names of devices stand for, also of those that are not listed now."""
    return {device_name(gpu.uuid): WholeGpus(gpus=(gpu.uuid,)) for gpu in _offered(snapshot)}


def fault(snapshot: Snapshot, ledger: Ledger, subject: Subject) -> str | None:
    """Return why a subject must not be given, whatever claims have; None where it may."""
    match subject:
        case WholeGpus(gpus=gpus):
            faults = (_fault_of_gpu(snapshot, ledger, uuid) for uuid in gpus)
            return next((each for each in faults if each is not None), None)
        case _:
            raise NotImplementedError


def nvlink_groups(snapshot: Snapshot) -> dict[str, int]:
    """Return a number for each GPU that NVLink joins to others, the same within a clique."""
    model = snapshot.placement.model
    cliques = dict(zip(model.uuids, model.clique, strict=False))
    sizes = list(cliques.values())
    return {uuid: number for uuid, number in cliques.items() if sizes.count(number) > 1}


def _offered(snapshot: Snapshot) -> list[Gpu]:
    everything = (*snapshot.inventory.gpus, *snapshot.departed)
    return [gpu for gpu in everything if gpu.name not in DISPLAY_GPUS and not in_mig_mode(gpu)]


def _fault_of_gpu(snapshot: Snapshot, ledger: Ledger, uuid: str) -> str | None:
    if (why := reason(snapshot, uuid)) is not None:
        return f"it is unhealthy: {why}"
    for each in ledger.pods_with(uuid):
        holder = each.holder or "a pod that is being started"
        return f"it is held as {each.resource} by {holder}, through the device plugin"
    return None


def _held_otherwise(uuid: str, snapshot: Snapshot, ledger: Ledger) -> bool:
    parts = (each.uuid for each in snapshot.instances.values() if each.parent.uuid == uuid)
    return any(ledger.pods_with(each) for each in (uuid, *parts))


def _device(gpu: Gpu, snapshot: Snapshot, group: int | None) -> DraDevice:
    rail = snapshot.rails.gpus.get(gpu.uuid)
    device = gpu_device(gpu, snapshot.inventory, nvlink_group=group, rail=rail)
    why = reason(snapshot, gpu.uuid)
    return device if why is None else replace(device, taints={UNHEALTHY_TAINT: "true"})
