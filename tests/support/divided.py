"""GPUs in MIG mode for tests, as values."""

from builders import gpu
from mig_boards import BOARDS

from agent.model.inventory import MigMode
from agent.model.mig import ComputeInstance, GpuInstance, MigPlacement, Partition

ON, OFF = MigMode(current=True, pending=True), MigMode(current=False, pending=False)
# Total memory as NVML reports it of the whole board, MiB.
TOTAL_MIB = {
    "A100": 40960,
    "A30": 24576,
    "H100": 81559,
    "H200": 143771,
    "B200": 183359,
    "RTX": 97887,
}


def divided(index, *parts, board="H100", **facts):
    """Return a GPU in MIG mode.

    Each part is a profile's name, or ``(name, start)``, or ``(name, start, (slices, ...))`` for
    the compute instances in it; by default one that takes all of it, at the first slice that is
    free. GPU instances are numbered from 1; the UUID is ``MIG-<gpu>-<gi>-<ci>``.
    """
    model, _, profiles = BOARDS[board]
    at, made = 0, []
    for number, part in enumerate(parts, start=1):
        name, start, slices = (*((part,) if isinstance(part, str) else part), None, None)[:3]
        profile = next(each for each in profiles if each.name == name)
        start = at if start is None else start
        at = start + profile.placements[0].size
        made.append(_instance(index, number, profile, start, slices or (profile.slices,)))
    return gpu(
        index,
        **{
            "name": model,
            "memory_bytes": TOTAL_MIB[board] << 20,
            "mig": ON,
            "partition": Partition(profiles=profiles, instances=tuple(made)),
            **facts,
        },
    )


def _instance(index, number, profile, start, slices):
    sizes = {each.slices: each.id for each in profile.compute}
    return GpuInstance(
        id=number,
        profile=profile.id,
        placement=MigPlacement(start=start, size=profile.placements[0].size),
        access_node=f"/dev/nvidia-caps/nvidia-cap{index}{number}",
        compute=tuple(
            ComputeInstance(
                id=i,
                profile=sizes[size],
                uuid=f"MIG-{index}-{number}-{i}",
                index=10 * (number - 1) + i,
                access_node=f"/dev/nvidia-caps/nvidia-cap{index}{number}{i}",
            )
            for i, size in enumerate(slices)
        ),
    )
