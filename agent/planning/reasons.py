"""Why a device must not be handed out: what is wrong with it, and who holds it otherwise. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from agent.config.schema import Flags
from agent.ledger.ledger import Allocation, Ledger
from agent.model.inventory import Gpu
from agent.model.mig_instance import Device, MigInstance, mig_instances, parent_of
from agent.planning.device_list import obstacle
from agent.planning.health import Health

ABSENT = "the driver no longer lists it"


class Faults(Struct, frozen=True, kw_only=True):
    """Why devices must not be handed out, whoever holds them."""

    health: Health
    flags: Flags
    absent: frozenset[str]
    """UUIDs of GPUs that no longer answer."""
    changing: Mapping[str, str]
    """GPUs that are being divided anew, by UUID, each with the reason."""

    def of(self, device: Device) -> str | None:
        """Return the gravest reason; None for a device without a fault."""
        gpu = parent_of(device)
        absence = ABSENT if gpu.uuid in self.absent else obstacle(device, self.flags)
        return self._mark(device, gpu) or absence or self.changing.get(gpu.uuid)

    def _mark(self, device: Device, gpu: Gpu) -> str | None:
        """Return the mark on a device, on what it is part of, or on what is part of it."""
        parts = () if isinstance(device, MigInstance) else mig_instances(gpu)
        marks = (self.health.reason(each.uuid) for each in (gpu, device, *parts))
        return next((mark for mark in marks if mark is not None), None)


class Holdings:
    """What containers hold of devices, and of what these are parts of or consist of."""

    def __init__(self, ledger: Ledger, destroyed: Iterable[MigInstance]) -> None:
        """``destroyed`` are MigInstances that are no more and may be held."""
        self._ledger = ledger
        self._destroyed = tuple(destroyed)

    def under(self, device: Device, resource: str) -> bool:
        """Return whether a container holds a device under this name."""
        return any(each.resource == resource for each in self._ledger.allocations(device.uuid))

    def unknown_to_kubelet(self, device: Device, resource: str, id_: str) -> str | None:
        """Return by whom a device is held without the kubelet counting it; None if by nobody.

        ``id_`` is what the kubelet knows it by: of a Replica with its number.
        """
        held = self._ledger.held_unknown_to_kubelet(id_, resource)
        if held is not None:
            return _held(held)
        for other in self._relatives(device):
            for allocation in self._ledger.allocations(other.uuid):
                return f"{other.uuid} is {_held(allocation)}"
        return None

    def _relatives(self, device: Device) -> Iterator[Device]:
        """Yield devices that cannot be in use beside this one.

        Who was given an instance that is gone can still open what took its place: the whole
        GPU, or another instance with the same numbers, whose capability nodes are the same.
        """
        if isinstance(device, MigInstance):
            yield device.parent
            yield from (each for each in self._destroyed if _place(each) == _place(device))
        else:
            yield from mig_instances(device)
            yield from (each for each in self._destroyed if each.parent.uuid == device.uuid)


def _place(instance: MigInstance) -> tuple[str, int, int]:
    return instance.parent.uuid, instance.gpu_instance, instance.compute_instance


def _held(allocation: Allocation) -> str:
    return f"held as {allocation.resource} by {allocation.holder or 'a container'}"
