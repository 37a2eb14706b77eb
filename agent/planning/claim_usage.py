"""How the containers of a claim use a device at the same time: by turns, or through MPS. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct, field

from agent.config.sharing import TimeSlice
from agent.model.errors import ClaimError
from agent.planning.mps import Limits, MpsSet, too_old
from agent.planning.snapshot import Snapshot

_ALL_THREADS = 100
_PER_DEVICE = "mpsConfig.defaultPerDevicePinnedMemoryLimit"


class MpsUsage(Struct, frozen=True, kw_only=True):
    """What a claim's MPS daemon is to be like."""

    threads_percent: int | None = None
    """What a client may use of the threads; None: all."""
    memory_mib: int | None = None
    """What a client may use of the memory of each device; None: all."""
    memory_mib_of: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The same for single devices, by UUID or by place among those of the daemon."""
    multi_user: bool = False
    """True when clients of several users are served at once."""


class Usage(Struct, frozen=True, kw_only=True):
    """How a device is used; without either it is as the driver has it."""

    time_slice: TimeSlice | None = None
    """How long a turn is; None: the driver's own time."""
    mps: MpsUsage | None = None


AS_IT_IS = Usage()


def usage_obstacle(snapshot: Snapshot, uuid: str, usage: Usage) -> str | None:
    """Return why a GPU or a MigInstance cannot be used so on a node; None where it can."""
    instance = snapshot.instances.get(uuid)
    gpu = snapshot.gpu(instance.parent.uuid if instance else uuid)
    share = snapshot.catalog.shared.by_device.get(uuid)
    if share is not None:
        return f"the configuration shares it already ({share.path})"
    if gpu is None:
        return "it is no longer on this node"
    if gpu.uuid in snapshot.served.rendezvous:
        return "an MPS daemon of the configuration serves it, and has to end first"
    return too_old(gpu) if usage.mps is not None else None


def claim_set(name: str, devices: Sequence[str], usage: MpsUsage) -> MpsSet:
    """Return what an MPS daemon serves for a claim; ``devices`` are UUIDs.

    Raises ClaimError for what one daemon cannot do.
    """
    instances = [uuid for uuid in devices if uuid.startswith("MIG-")]
    if instances and len(devices) > 1:
        raise ClaimError(
            f"MPS serves GPUs, or one MIG instance, and the claim has {', '.join(devices)}; make a"
            " claim for each instance"
        )
    memory = _memory_of(devices, usage)
    threads = _ALL_THREADS if usage.threads_percent is None else usage.threads_percent
    return MpsSet(
        name=name,
        resource=name,
        gpus=tuple(devices),
        limits=tuple(
            Limits(memory_mib=memory.get(uuid, usage.memory_mib), threads_percent=threads)
            for uuid in devices
        ),
        multi_user=usage.multi_user,
    )


def _memory_of(devices: Sequence[str], usage: MpsUsage) -> dict[str, int]:
    by_key = {str(number): uuid for number, uuid in enumerate(devices)}
    by_key |= {uuid: uuid for uuid in devices}
    found: dict[str, int] = {}
    for key, memory_mib in usage.memory_mib_of.items():
        uuid = by_key.get(key)
        if uuid is None:
            there = ", ".join(f"{number} ({uuid})" for number, uuid in enumerate(devices))
            raise ClaimError(f"{_PER_DEVICE}: {key!r} is no device of the claim, which has {there}")
        if uuid in found:
            raise ClaimError(f"{_PER_DEVICE}: {uuid} has two limits, by its number and by its UUID")
        found[uuid] = memory_mib
    return found
