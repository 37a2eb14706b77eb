"""Layouts made from the hardware, under the names that mig-parted gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.model.mig import GpuInstanceProfile, WantedInstance
from agent.planning.layout_model import DivisibleGpu
from agent.planning.mig_packing import fits

Entries = list[dict[str, object]]
"""The entries of one layout in mig-parted's format, as plain values."""

# What all-balanced is, by the compute slices of a whole GPU: how many of each G.
_BALANCED = {7: ((1, 2), (2, 1), (3, 1)), 4: ((1, 2), (2, 1))}


def generate_layouts(gpus: Sequence[DivisibleGpu]) -> dict[str, Entries]:
    """Return the layouts that a node's GPUs can have as a whole, by name.

    ``all-disabled``, ``all-enabled``, ``all-balanced``, and ``all-<profile>`` with as many as
    fit. GPUs of different boards are told apart by their PCI ids. Empty without a GPU that can
    do MIG.
    """
    capable = [gpu for gpu in gpus if gpu.capable]
    if not capable:
        return {}
    boards = _boards(capable)
    layouts: dict[str, Entries] = {
        "all-disabled": [{"devices": "all", "mig-enabled": False}],
        "all-enabled": [{"devices": "all", "mig-enabled": True, "mig-devices": {}}],
    }
    for gpu in boards.values():
        for profile in gpu.profiles:
            counts = {profile.name: _most(profile)}
            label = f"all-{profile.name.replace('+', '.')}"
            layouts.setdefault(label, []).append(_entry(gpu, counts, gpus=gpus))
        balanced = _balanced(gpu)
        if balanced:
            layouts.setdefault("all-balanced", []).append(_entry(gpu, balanced, gpus=gpus))
    return layouts


def layout_document(layouts: Mapping[str, Entries]) -> dict[str, object]:
    """Return layouts as a file in mig-parted's format, as plain values."""
    return {"version": "v1", "mig-configs": dict(layouts)}


def device_filter(gpu: DivisibleGpu) -> str | None:
    """Return the filter that selects GPUs of this board; None without a PCI id."""
    return None if gpu.device_id is None else f"0x{gpu.device_id:08X}"


def _boards(gpus: Sequence[DivisibleGpu]) -> dict[str, DivisibleGpu]:
    """Return one GPU of each board, by its filter."""
    boards: dict[str, DivisibleGpu] = {}
    for gpu in gpus:
        boards.setdefault(device_filter(gpu) or gpu.model, gpu)
    return boards


def _entry(
    gpu: DivisibleGpu, counts: dict[str, int], *, gpus: Sequence[DivisibleGpu]
) -> dict[str, object]:
    """Return an entry for every GPU of a board, which is filtered only where there are others."""
    board = device_filter(gpu)
    others = [other for other in gpus if other.capable and device_filter(other) != board]
    chosen: dict[str, object] = {"devices": "all"}
    if others and board is None:
        chosen = {"devices": [each.index for each in gpus if each.model == gpu.model]}
    elif others:
        chosen = {"device-filter": board, "devices": "all"}
    return {**chosen, "mig-enabled": True, "mig-devices": counts}


def _most(profile: GpuInstanceProfile) -> int:
    """Return how many of a profile an empty GPU holds, whatever ``most`` promises beyond."""
    one = WantedInstance(profile=profile.id, compute=())
    profiles = {profile.id: profile}
    return next(n for n in range(profile.most, -1, -1) if fits((one,) * n, profiles))


def _balanced(gpu: DivisibleGpu) -> dict[str, int]:
    """Return the counts of all-balanced; empty where the GPU has no such thing."""
    whole = max((profile.slices for profile in gpu.profiles), default=0)
    found: list[tuple[GpuInstanceProfile, int]] = []
    for slices, count in _BALANCED.get(whole, ()):
        plain = [p for p in gpu.profiles if p.slices == slices and p.name.endswith("gb")]
        if not plain:
            return {}
        found.append((min(plain, key=lambda p: p.memory_mib), count))
    wanted = [WantedInstance(profile=p.id, compute=()) for p, count in found for _ in range(count)]
    possible = fits(wanted, {profile.id: profile for profile in gpu.profiles})
    return {p.name: count for p, count in found} if possible else {}
