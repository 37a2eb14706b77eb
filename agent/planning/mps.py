"""What MPS can share, and what each client gets. Pure.

Facts from NVIDIA's "Multi-Process Service" documentation: limits of memory and threads exist
since Volta; a server of a Volta or later GPU serves 48 clients, 60 since CUDA 13.1; the driver
refuses the exclusive compute mode, without which work would bypass the server, in MIG mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from agent.config.sharing import MPS_MOST_CLIENTS
from agent.model.inventory import Gpu
from agent.model.mig_instance import Device, MigInstance
from agent.planning.shared_device import SharedDevice

_VOLTA = (7, 0)
_MORE_CLIENTS_SINCE = (13, 1)
_CLIENTS_BEFORE = 48
_MIB = 2**20

SHM = "/dev/shm/plumbline-mps"  # noqa: S108 - of the host; only root makes it
"""On memory, as much as /dev/shm has; apart from what the host itself keeps there."""

PIPE_DIRECTORY = "CUDA_MPS_PIPE_DIRECTORY"
LOG_DIRECTORY = "CUDA_MPS_LOG_DIRECTORY"


class Limits(Struct, frozen=True, kw_only=True):
    """What one client may use of one GPU."""

    memory_mib: int | None
    """None: all there is."""
    threads_percent: int


class MpsSet(Struct, frozen=True, kw_only=True):
    """GPUs that one MPS control daemon serves: those of which a container may get several."""

    name: str
    """A relative path, unique on the node: below it lie the daemon's pipe and log."""
    resource: str
    gpus: tuple[str, ...]
    """UUIDs, in the order in which the daemon counts them; for a claim also one MigInstance's."""
    limits: tuple[Limits, ...]
    """What a client gets where it says nothing, GPU by GPU: the largest share of each."""
    multi_user: bool = False
    """True when clients of several users are served at once."""

    @property
    def exclusive(self) -> tuple[str, ...]:
        """Return the GPUs that only MPS may use: none for a MIG instance, which cannot be so."""
        return tuple(uuid for uuid in self.gpus if not uuid.startswith("MIG-"))

    def is_like(self, other: MpsSet) -> bool:
        """Return True when a daemon of one can serve as one of the other, whatever their order."""
        mine, theirs = (dict(zip(each.gpus, each.limits, strict=True)) for each in (self, other))
        return mine == theirs and self.multi_user == other.multi_user

    @property
    def threads_percent(self) -> int:
        """Return the largest share of threads, which the daemon knows for all GPUs at once."""
        return max(each.threads_percent for each in self.limits)


class Rendezvous(Struct, frozen=True, kw_only=True):
    """Where containers meet the daemon of a set, as folders of the host."""

    set: MpsSet
    pipe: str
    shm: str
    """What is /dev/shm to the daemon: client and server share memory there."""


def rendezvous_of(mps_set: MpsSet, root: str, shm: str) -> Rendezvous:
    """Return where the daemon of a set is met; the folders are those of all sets."""
    return Rendezvous(set=mps_set, pipe=f"{root}/{mps_set.name}/pipe", shm=f"{shm}/{mps_set.name}")


class Served(Struct, frozen=True, kw_only=True):
    """Which GPUs MPS daemons serve at this moment."""

    rendezvous: Mapping[str, Rendezvous] = field(default_factory=dict)
    """By the UUIDs of the GPUs behind them."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why no more of a GPU may be given, by its UUID: its daemon fails, or has to go first."""

    def reason(self, gpu: str, *, by_mps: bool) -> str | None:
        """Return why a device of a GPU cannot be given; ``by_mps``: it is to be shared by MPS."""
        if gpu in self.reasons:
            return self.reasons[gpu]
        if by_mps:
            return None if gpu in self.rendezvous else "its MPS daemon has not started yet"
        return "its MPS daemon has not ended yet" if gpu in self.rendezvous else None


NOTHING_SERVED = Served()


def obstacle(device: Device) -> str | None:
    """Return why a device cannot be shared through MPS; None where it can."""
    if isinstance(device, MigInstance):
        return f"MIG instance {device.name}: MPS shares whole GPUs only"
    if device.mig is not None and device.mig.current:
        return f"GPU {device.index} is in MIG mode, in which MPS cannot be exclusive"
    return too_old(device)


def too_old(gpu: Gpu) -> str | None:
    """Return why a GPU cannot hold clients of MPS to limits; None where it can."""
    known = gpu.compute_capability
    if known is None or _numbers(known) >= _VOLTA:
        return None
    return (
        f"GPU {gpu.index} has compute capability {known}; MPS keeps clients apart since 7.0 (Volta)"
    )


def clients(cuda_version: str | None) -> int:
    """Return how many clients one GPU can have under a driver for this version of CUDA."""
    newer = cuda_version is not None and _numbers(cuda_version) >= _MORE_CLIENTS_SINCE
    return MPS_MOST_CLIENTS if newer else _CLIENTS_BEFORE


def limits(gpu: Gpu, weights: Sequence[int], replica: int) -> Limits:
    """Return what one Replica of a GPU may use: never more together than there is."""
    weight, total = weights[replica], sum(weights)
    return Limits(
        memory_mib=gpu.memory_bytes // _MIB * weight // total,
        threads_percent=max(1, 100 * weight // total),
    )


def plan_sets(gpus: Sequence[Gpu], shares: Mapping[str, SharedDevice]) -> tuple[MpsSet, ...]:
    """Return the daemons that a node needs; ``shares`` are its SharedDevices by UUID.

    Where one container gets one Replica only, every GPU has a daemon of its own: what goes
    wrong on one GPU then stays there.
    """
    groups: dict[str, list[Gpu]] = {}
    for gpu in sorted(gpus, key=lambda gpu: gpu.index):
        share = shares.get(gpu.uuid)
        if share is not None and share.by_mps:
            # Short: a socket below has a path of at most 107 bytes.
            own = gpu.uuid.removeprefix("GPU-").partition("-")[0]
            name = f"{share.resource}/{own}" if share.most == 1 else share.resource
            groups.setdefault(name, []).append(gpu)
    return tuple(
        MpsSet(
            name=name,
            resource=shares[members[0].uuid].resource,
            gpus=tuple(gpu.uuid for gpu in members),
            limits=tuple(_largest(gpu, shares[gpu.uuid].weights or (1,)) for gpu in members),
        )
        for name, members in groups.items()
    )


def _largest(gpu: Gpu, weights: Sequence[int]) -> Limits:
    return limits(gpu, weights, max(range(len(weights)), key=weights.__getitem__))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
