"""Reads what a GPU in MIG mode can be divided into, and how it is divided, through NVML."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from agent.discovery.faults import ABSENT, optional
from agent.model.mig import (
    ComputeInstance,
    ComputeProfile,
    Engines,
    GpuInstance,
    GpuInstanceProfile,
    MigPlacement,
    MigProcess,
    Partition,
    compute_starts,
)

# Handles and structures of pynvml's own making.
Handle = Any

# Drivers that know more profiles than the bindings number them on from there.
PROFILE_NUMBERS = range(32)
COMPUTE_NUMBERS = range(16)


def read_partition(gpu: Handle) -> Partition:
    """Return how a GPU can be divided, and how it is. Raises NVMLError."""
    profiles = read_profiles(gpu)
    return Partition(profiles=profiles, instances=read_instances(gpu, profiles))


def read_profiles(gpu: Handle) -> tuple[GpuInstanceProfile, ...]:
    """Return the sizes of GPU instance that a GPU offers, the smallest first.

    What compute instances fit in is told only of GPU instances that exist: ``compute`` is what
    is known without one (see ``read_instances``).
    Raises NVMLError when the GPU does not answer.
    """
    told = dict(_told(gpu))
    of_slice = min(
        (info.multiprocessorCount // info.sliceCount for info in told.values()), default=0
    )
    found = [_profile(gpu, number, info, of_slice) for number, info in told.items()]
    return tuple(sorted(found, key=lambda each: (each.slices, each.memory_mib, each.name)))


def read_instances(
    gpu: Handle, profiles: tuple[GpuInstanceProfile, ...]
) -> tuple[GpuInstance, ...]:
    """Return the GPU instances that exist, by id. Raises NVMLError."""
    devices = {place: (uuid, index) for place, uuid, index in _devices(gpu)}
    found = (
        _instance(handle, profile, devices)
        for profile in profiles
        for handle in _instances(gpu, profile)
    )
    return tuple(sorted(found, key=lambda each: each.id))


def device_uuids(gpu: Handle) -> tuple[str, ...]:
    """Return the UUIDs of a GPU's MIG devices; none where MIG is off. Raises NVMLError."""
    return tuple(uuid for _, uuid, _ in _devices(gpu))


def processes_by_gpu() -> dict[str, tuple[MigProcess, ...]]:
    """Return the processes of every GPU that answers, by UUID.

    A GPU that will not tell of them is left out: what is at work there is not known.
    """
    found = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        with contextlib.suppress(pynvml.NVMLError):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            found[pynvml.nvmlDeviceGetUUID(gpu)] = read_processes(gpu)
    return found


def read_processes(gpu: Handle) -> tuple[MigProcess, ...]:
    """Return the processes that compute on a GPU, by pid. Raises NVMLError.

    On a GPU in MIG mode only a privileged caller is told of them.
    """
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
    found = (
        MigProcess(
            pid=each.pid,
            gpu_instance=known_instance(each.gpuInstanceId),
            compute_instance=known_instance(each.computeInstanceId),
        )
        for each in running
    )
    return tuple(sorted(found, key=lambda each: each.pid))


def known_instance(instance: int) -> int | None:
    """Return the number of an instance; None where NVML means all of them (0xFFFFFFFF)."""
    return None if instance == pynvml.NVML_GPU_INSTANCE_ID_ANY else instance


def _told(gpu: Handle) -> Iterator[tuple[int, Any]]:
    """Yield what the driver tells of each profile that the GPU offers, by number."""
    for number in PROFILE_NUMBERS:
        try:
            yield number, pynvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu, number)
        except pynvml.NVMLError_InvalidArgument:
            return  # beyond the last number that this driver knows
        except pynvml.NVMLError as error:
            if error.value not in ABSENT:
                raise


def _profile(gpu: Handle, number: int, info: Any, of_slice: int) -> GpuInstanceProfile:  # noqa: ANN401
    return GpuInstanceProfile(
        name=info.name.removeprefix("MIG "),
        enum=number,
        id=info.id,
        slices=info.sliceCount,
        memory_mib=info.memorySizeMB,
        multiprocessors=info.multiprocessorCount,
        most=info.instanceCount,
        placements=_placements(gpu, info.id),
        compute=_compute_profiles(info, of_slice),
        engines=Engines(
            copy=info.copyEngineCount,
            decoders=info.decoderCount,
            encoders=info.encoderCount,
            jpeg=info.jpegCount,
            optical_flow=info.ofaCount,
        ),
    )


def _compute_profiles(info: Any, of_slice: int) -> tuple[ComputeProfile, ...]:  # noqa: ANN401
    """Return the compute instances that a GPU instance can hold, by the rule of the boards.

    NVML answers for a GPU instance that exists. Before one does, this is what listings of every
    board show: 1, 2 and 3 slices and all of them; no 3c.4g. A slice has as many multiprocessors as
    one of the smallest GPU instance: what a larger one has beyond that, only all of it can use.
    """
    total = info.sliceCount
    sizes = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4, 8: 5, 6: 6}
    fitting = [size for size in (1, 2, 3) if size < total and (size, total) != (3, 4)]
    return tuple(
        ComputeProfile(
            enum=sizes[size],
            id=sizes[size],
            slices=size,
            multiprocessors=info.multiprocessorCount if size == total else size * of_slice,
            most=len(compute_starts(size, total)),
        )
        for size in (*fitting, total)
        if size in sizes
    )


def _placements(gpu: Handle, profile: int) -> tuple[MigPlacement, ...]:
    call = pynvml.nvmlDeviceGetGpuInstancePossiblePlacements
    count = ctypes.c_uint(0)
    if optional(call, gpu, profile, None, ctypes.byref(count)) is None or not count.value:
        return ()
    found = (pynvml.c_nvmlGpuInstancePlacement_t * count.value)()
    call(gpu, profile, found, ctypes.byref(count))
    places = (MigPlacement(start=each.start, size=each.size) for each in found[: count.value])
    return tuple(sorted(places))


def _listed(
    call: Callable[..., int], owner: Handle, profile: int, kind: type[ctypes.Array[Any]]
) -> list[Handle]:
    """Return the handles that a call of NVML lists; it wants room for all there can be."""
    found, count = kind(), ctypes.c_uint(0)
    try:
        call(owner, profile, found, ctypes.byref(count))
    except pynvml.NVMLError_NotSupported:
        return []  # MIG is off. Who may not look must not take that for nothing there.
    return list(found[: count.value])


def _instances(gpu: Handle, profile: GpuInstanceProfile) -> list[Handle]:
    kind = pynvml.c_nvmlGpuInstance_t * max(profile.most, 1)
    return _listed(pynvml.nvmlDeviceGetGpuInstances, gpu, profile.id, kind)


def _instance(
    handle: Handle,
    profile: GpuInstanceProfile,
    devices: dict[tuple[int, int], tuple[str, int]],
) -> GpuInstance:
    info = pynvml.nvmlGpuInstanceGetInfo(handle)
    compute = []
    for each in _compute_instances(handle):
        uuid, index = devices.get((info.id, each.id), (None, None))
        compute.append(
            ComputeInstance(
                id=each.id,
                profile=each.profileId,
                uuid=uuid,
                index=index,
                start=each.placement.start,
            )
        )
    return GpuInstance(
        id=info.id,
        profile=profile.id,
        placement=MigPlacement(start=info.placement.start, size=info.placement.size),
        compute=tuple(sorted(compute, key=lambda each: each.id)),
    )


def _compute_instances(around: Handle) -> Iterator[Any]:
    for number in COMPUTE_NUMBERS:
        profile = optional(pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo, around, number, 0)
        if profile is None:
            continue
        kind = pynvml.c_nvmlComputeInstance_t * max(profile.instanceCount, 1)
        call = pynvml.nvmlGpuInstanceGetComputeInstances
        for handle in _listed(call, around, profile.id, kind):
            yield pynvml.nvmlComputeInstanceGetInfo(handle)


def _devices(gpu: Handle) -> Iterator[tuple[tuple[int, int], str, int]]:
    """Yield every MIG device: its GPU instance and compute instance, its UUID and its index."""
    for index in range(optional(pynvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0):
        device = optional(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, index)
        if device is None:
            continue  # indices can have gaps while somebody makes or destroys instances
        place = (
            pynvml.nvmlDeviceGetGpuInstanceId(device),
            pynvml.nvmlDeviceGetComputeInstanceId(device),
        )
        yield place, pynvml.nvmlDeviceGetUUID(device), index
