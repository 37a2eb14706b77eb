"""What a container needs to compute through MPS. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from agent.model.errors import HardwareError
from agent.model.inventory import Gpu
from agent.planning.mps import PIPE_DIRECTORY, Limits, Rendezvous, Served, limits
from agent.planning.shared_device import SharedDevice

THREADS = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
CONTAINER_SHM = "/dev/shm"  # noqa: S108 - where the C library looks for shared memory


class Client(Struct, frozen=True, kw_only=True):
    """A container that computes through MPS."""

    rendezvous: Rendezvous
    gpu: str
    """UUID of the first of its GPUs."""
    limits: Mapping[str, str]
    """Environment variables that hold it to its share."""


def client_of(
    devices: Sequence[str], gpus: Iterable[Gpu], shares: Mapping[str, SharedDevice], served: Served
) -> Client | None:
    """Return what a container with these Replicas needs; None for one without MPS.

    ``gpus`` are those behind the Replicas. Several Replicas of a GPU count as the largest of
    them: the daemon gives no client more. Raises HardwareError where no daemon serves them all.
    """
    ordered = sorted({gpu.uuid: gpu for gpu in gpus}.values(), key=lambda gpu: gpu.index)
    if not any(gpu.uuid in shares and shares[gpu.uuid].by_mps for gpu in ordered):
        return None
    by_gpu = {gpu.uuid: served.rendezvous.get(gpu.uuid) for gpu in ordered}
    rendezvous = by_gpu[ordered[0].uuid]
    if rendezvous is None or any(each != rendezvous for each in by_gpu.values()):
        raise HardwareError(f"no MPS daemon serves {', '.join(by_gpu)} together; ask for one")
    given = [_given(gpu, devices, shares[gpu.uuid]) for gpu in ordered]
    memory = ",".join(f"{number}={each.memory_mib}M" for number, each in enumerate(given))
    threads = min(each.threads_percent for each in given)
    return Client(
        rendezvous=rendezvous, gpu=ordered[0].uuid, limits={MEMORY: memory, THREADS: str(threads)}
    )


def rendezvous_env(rendezvous: Rendezvous) -> dict[str, str]:
    """Return how a container is told where its daemon is."""
    return {PIPE_DIRECTORY: _container_pipe(rendezvous)}


def rendezvous_mounts(rendezvous: Rendezvous) -> dict[str, str]:
    """Return the folders of the host that a container needs, by their paths in it."""
    return {_container_pipe(rendezvous): rendezvous.pipe, CONTAINER_SHM: rendezvous.shm}


def _container_pipe(rendezvous: Rendezvous) -> str:
    return f"/mps/{rendezvous.set.resource}/pipe"


def _given(gpu: Gpu, devices: Iterable[str], share: SharedDevice) -> Limits:
    """Return the limits of the largest of a GPU's Replicas among the given ones."""
    weights = share.weights or (1,)
    parts = (each.partition("::") for each in devices)
    numbers = [int(number) for uuid, _, number in parts if uuid == gpu.uuid]
    return limits(gpu, weights, max(numbers, key=weights.__getitem__))
