"""The node's pool of DRA devices, from a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from agent.ledger.ledger import Ledger
from agent.model.inventory import Gpu
from agent.planning.dra_devices import DraDevice, device_name, gpu_device
from agent.planning.dra_order import listed_order
from agent.planning.snapshot import Snapshot
from agent.planning.strategy import DISPLAY_GPUS, in_mig_mode

UNHEALTHY_TAINT = "gpu.nvidia.com/unhealthy"


def pool_devices(
    snapshot: Snapshot, ledger: Ledger, claimed: Mapping[str, str]
) -> tuple[DraDevice, ...]:
    """Return the devices of the pool, in the order in which they are listed.

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
    return tuple(_device(gpus[uuid], snapshot, groups.get(uuid)) for uuid in ordered)


def reason(snapshot: Snapshot, uuid: str) -> str | None:
    """Return why a GPU must not be given; None where it may."""
    if snapshot.inventory.gpu(uuid) is None:
        return snapshot.health.reason(uuid) or "the driver no longer lists it"
    return snapshot.health.reason(uuid)


def gpus_by_device(snapshot: Snapshot) -> dict[str, Gpu]:
    """Return the GPUs behind the names of devices."""
    return {device_name(gpu.uuid): gpu for gpu in _offered(snapshot)}


def nvlink_groups(snapshot: Snapshot) -> dict[str, int]:
    """Return a number for each GPU that NVLink joins to others, the same within a clique."""
    model = snapshot.placement.model
    cliques = dict(zip(model.uuids, model.clique, strict=False))
    sizes = list(cliques.values())
    return {uuid: number for uuid, number in cliques.items() if sizes.count(number) > 1}


def _offered(snapshot: Snapshot) -> list[Gpu]:
    everything = (*snapshot.inventory.gpus, *snapshot.departed)
    return [gpu for gpu in everything if gpu.name not in DISPLAY_GPUS and not in_mig_mode(gpu)]


def _held_otherwise(uuid: str, snapshot: Snapshot, ledger: Ledger) -> bool:
    parts = (each.uuid for each in snapshot.instances.values() if each.parent.uuid == uuid)
    return any(ledger.pods_with(each) for each in (uuid, *parts))


def _device(gpu: Gpu, snapshot: Snapshot, group: int | None) -> DraDevice:
    device = gpu_device(gpu, snapshot.inventory, nvlink_group=group)
    why = reason(snapshot, gpu.uuid)
    if why is None:
        return device
    return DraDevice(
        name=device.name,
        uuid=device.uuid,
        attributes=device.attributes,
        capacity=device.capacity,
        taints={UNHEALTHY_TAINT: _word(why)},
    )


def _word(reason_: str) -> str:
    """Return a reason as the value of a taint: a label's value."""
    xid = next((part for part in reason_.replace(":", " ").split() if part.isdecimal()), None)
    return f"xid-{xid}" if xid and "Xid" in reason_ else "unhealthy"
