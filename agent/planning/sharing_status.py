"""How every GPU is shared at this moment: plain facts, as they are printed. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from agent.config.sharing import TimeSlice
from agent.ledger.ledger import Ledger
from agent.model.mig_instance import Device, MigInstance, mig_instances
from agent.planning.mps import Limits, limits
from agent.planning.shared_device import SharedDevice
from agent.planning.snapshot import Snapshot


class ReplicaStatus(Struct, frozen=True, kw_only=True):
    """One Replica, or what a container still holds of a former sharing."""

    id: str
    holder: str | None
    """``namespace/pod``; None when it is free, or when the kubelet has not said whose it is."""
    held: bool
    unhealthy: str | None
    limits: Limits | None
    """What its container may use of the GPU, under MPS."""


class DaemonStatus(Struct, frozen=True, kw_only=True):
    """The MPS daemon that serves a GPU."""

    set: str
    state: str
    """``serving``, or why it does not."""
    gpus: tuple[str, ...]
    """UUIDs of all GPUs that it serves."""
    pipe: str
    pid: int | None
    default_limits: Limits
    """What a client may use that says nothing."""


class SharingStatus(Struct, frozen=True, kw_only=True):
    """How one GPU or MigInstance is shared."""

    device: str
    """What people call it: ``GPU 6``, ``1g.10gb at GPU 0:2``."""
    uuid: str
    model: str
    strategy: str
    """``none``, ``time-slicing`` or ``mps``."""
    resource: str | None
    """What its Replicas, or it itself, is offered as; None when it is not offered."""
    entry: str | None
    """The entry of the configuration."""
    replicas: tuple[ReplicaStatus, ...]
    time_slice: str | None
    """What the driver was told; None when it was told nothing."""
    time_slice_fault: str | None
    daemon: DaemonStatus | None


def sharing_status(
    snapshot: Snapshot,
    ledger: Ledger,
    *,
    slice_fault: Callable[[str], str | None] = lambda _: None,
    pid: Callable[[str], int | None] = lambda _: None,
) -> tuple[SharingStatus, ...]:
    """Return how every device is shared, by index.

    ``slice_fault`` says why the time slice of a GPU is not in force, ``pid`` which process the
    daemon of a set is.
    """
    devices: list[Device] = []
    for gpu in snapshot.inventory.gpus:
        parts = mig_instances(gpu)
        devices += parts or (gpu,)
    return tuple(_status(each, snapshot, ledger, slice_fault, pid) for each in devices)


def _status(
    device: Device,
    snapshot: Snapshot,
    ledger: Ledger,
    slice_fault: Callable[[str], str | None],
    pid: Callable[[str], int | None],
) -> SharingStatus:
    share = snapshot.catalog.shared.by_device.get(device.uuid)
    found = _replicas(device, share, snapshot, ledger)
    wanted = share.time_slice if share else None
    return SharingStatus(
        device=device.name if isinstance(device, MigInstance) else f"GPU {device.index}",
        uuid=device.uuid,
        model=device.parent.name if isinstance(device, MigInstance) else device.name,
        strategy="none" if share is None else "mps" if share.by_mps else "time-slicing",
        resource=share.resource if share else _resource(device, snapshot),
        entry=share.path if share else None,
        replicas=found,
        time_slice=None if wanted is None else TimeSlice(wanted).value,
        time_slice_fault=slice_fault(device.uuid) if wanted is not None else None,
        daemon=_daemon(device, snapshot, pid),
    )


def _replicas(
    device: Device, share: SharedDevice | None, snapshot: Snapshot, ledger: Ledger
) -> tuple[ReplicaStatus, ...]:
    holders = ledger.holders()
    listed = [
        each
        for devices in snapshot.catalog.resources.values()
        for each in devices
        if each.id.partition("::")[0] == device.uuid and ("::" in each.id or each.id in ledger.held)
    ]
    listed.sort(key=lambda each: (len(each.id), each.id))
    return tuple(
        ReplicaStatus(
            id=each.id,
            holder=holders.get(each.id),
            held=each.id in ledger.held,
            unhealthy=each.reason,
            limits=_limits(device, share, each.id),
        )
        for each in listed
    )


def _limits(device: Device, share: SharedDevice | None, id_: str) -> Limits | None:
    number = id_.partition("::")[2]
    if share is None or share.weights is None or isinstance(device, MigInstance) or not number:
        return None
    within = int(number) < len(share.weights)
    return limits(device, share.weights, int(number)) if within else None


def _resource(device: Device, snapshot: Snapshot) -> str | None:
    offered = snapshot.catalog.resources.items()
    return next((name for name, found in offered if any(d.id == device.uuid for d in found)), None)


def _daemon(
    device: Device, snapshot: Snapshot, pid: Callable[[str], int | None]
) -> DaemonStatus | None:
    rendezvous = snapshot.served.rendezvous.get(device.uuid)
    if rendezvous is None:
        return None
    own = rendezvous.set
    return DaemonStatus(
        set=own.name,
        state=snapshot.served.reasons.get(device.uuid, "serving"),
        gpus=own.gpus,
        pipe=rendezvous.pipe,
        pid=pid(own.name),
        default_limits=own.limits[own.gpus.index(device.uuid)],
    )
