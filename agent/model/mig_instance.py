"""MigInstance: what a container is given of a Gpu in MIG mode."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from agent.model.inventory import Gpu
from agent.model.mig import ComputeInstance, GpuInstance, GpuInstanceProfile, MigPlacement
from agent.model.mig_names import MigSuffix, ProfileName, parse_profile, profile_name

# What a profile has beside slices and memory, by NVML's number of it
# (NVML_GPU_INSTANCE_PROFILE_*): from there, not from the driver's own name, as NVIDIA's
# components do it.
_SUFFIXES = {
    **dict.fromkeys((7, 8), MigSuffix.MEDIA),
    **dict.fromkeys((10, 11, 12, 17), MigSuffix.GRAPHICS),
    **dict.fromkeys((13, 14), MigSuffix.NO_MEDIA),
    **dict.fromkeys((15, 16), MigSuffix.ALL_MEDIA),
}


class MigInstance(Struct, frozen=True, kw_only=True):
    """A compute instance with the GPU instance around it: NVML's MIG device."""

    uuid: str
    """``MIG-...``; another one whenever it is made again."""
    parent: Gpu
    index: int
    """NVML's index of it on its parent."""
    gpu_instance: int
    compute_instance: int
    profile: ProfileName
    """Made from its attributes as NVIDIA's components make it, which is what its resource is
    called by; the driver's own name can be 1 GB off."""
    multiprocessors: int | None
    placement: MigPlacement
    """Of the GPU instance."""
    access: tuple[str | None, str | None]
    """Device nodes that open the GPU instance and the compute instance; None for a missing one."""

    @property
    def name(self) -> str:
        """Return what the instance is called by people: ``GPU 1 instance 2/0 (3g.40gb)``."""
        place = f"{self.gpu_instance}/{self.compute_instance}"
        return f"GPU {self.parent.index} instance {place} ({self.profile})"


Device = Gpu | MigInstance
"""What a container can be given as a whole."""


def parent_of(device: Device) -> Gpu:
    """Return the physical GPU behind a device."""
    return device.parent if isinstance(device, MigInstance) else device


def mig_instances(gpu: Gpu) -> tuple[MigInstance, ...]:
    """Return the MigInstances of a GPU, by UUID; none where MIG mode is off."""
    if gpu.partition is None:
        return ()
    names = _names(gpu, gpu.partition.profiles)
    profiles = {profile.id: profile for profile in gpu.partition.profiles}
    found = (
        _instance(gpu, profiles[around.profile], names[around.profile], around, compute)
        for around in gpu.partition.instances
        if around.profile in profiles
        for compute in around.compute
        if compute.uuid is not None
    )
    return tuple(sorted(found, key=lambda each: each.uuid))


def whole_and_parts(gpu: Gpu) -> tuple[Device, ...]:
    """Return a GPU and its MigInstances."""
    return (gpu, *mig_instances(gpu))


def _instance(
    gpu: Gpu,
    profile: GpuInstanceProfile,
    name: ProfileName,
    around: GpuInstance,
    compute: ComputeInstance,
) -> MigInstance:
    size = next((each for each in profile.compute if each.id == compute.profile), None)
    return MigInstance(
        uuid=compute.uuid or "",
        parent=gpu,
        index=compute.index or 0,
        gpu_instance=around.id,
        compute_instance=compute.id,
        profile=ProfileName(
            compute_slices=None if size is None else size.slices,
            slices=name.slices,
            gigabytes=name.gigabytes,
            suffix=name.suffix,
        ),
        multiprocessors=None if size is None else size.multiprocessors,
        placement=around.placement,
        access=(around.access_node, compute.access_node),
    )


def _names(gpu: Gpu, profiles: tuple[GpuInstanceProfile, ...]) -> dict[int, ProfileName]:
    """Return the names of a GPU's profiles, by id.

    Where two would be called alike, which no real board was seen to do, the driver's names
    tell them apart.
    """
    made = {profile.id: _made(gpu, profile) for profile in profiles}
    often = Counter(made.values())
    drivers = {profile.id: parse_profile(profile.name) for profile in profiles}
    return {id_: name if often[name] == 1 else drivers[id_] or name for id_, name in made.items()}


def _made(gpu: Gpu, profile: GpuInstanceProfile) -> ProfileName:
    return profile_name(
        slices=profile.slices,
        memory_bytes=profile.memory_mib << 20,
        total_bytes=gpu.memory_bytes,
        suffix=_suffix(profile),
    )


def _suffix(profile: GpuInstanceProfile) -> MigSuffix:
    if profile.enum <= max(_SUFFIXES):
        return _SUFFIXES.get(profile.enum, MigSuffix.NONE)
    # A profile that is newer than this table: the driver's own name is all there is.
    named = parse_profile(profile.name)
    return named.suffix if named else MigSuffix.NONE
