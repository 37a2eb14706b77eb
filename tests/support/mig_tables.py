"""What real boards can be divided into, as their drivers list it, and short ways to write layouts.

Names, ids, sizes and placements are from consoles of the boards (`nvidia-smi mig -lgip`, `-lgipp`).
"""

import re

from agent.model.mig import (
    ComputeInstance,
    ComputeProfile,
    GpuInstance,
    GpuInstanceProfile,
    MigPlacement,
    WantedInstance,
)
from agent.planning.mig_plan import MigGpu

# Compute profile enum, which is the id as well in this table, by slices; and how many fit a GPU
# instance of so many slices.
COMPUTE = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}


def _compute(slices, multiprocessors):
    return tuple(
        ComputeProfile(
            enum=enum,
            id=enum,
            slices=size,
            multiprocessors=multiprocessors * size // slices,
            most=slices // size,
        )
        for size, enum in COMPUTE.items()
        if size <= slices
    )


def _board(*rows):
    """Make a table of (enum, id, name, GiB, multiprocessors, most, starts, size)."""
    return tuple(
        GpuInstanceProfile(
            name=name,
            enum=enum,
            id=id_,
            slices=int(name[0]),
            memory_mib=int(gib * 1024),
            multiprocessors=multiprocessors,
            most=most,
            placements=tuple(MigPlacement(start=start, size=size) for start in starts),
            compute=_compute(int(name[0]), multiprocessors),
        )
        for enum, id_, name, gib, multiprocessors, most, starts, size in rows
    )


A100 = _board(
    (0, 19, "1g.5gb", 4.75, 14, 7, range(7), 1),
    (7, 20, "1g.5gb+me", 4.75, 14, 1, range(7), 1),
    (9, 15, "1g.10gb", 9.62, 14, 4, (0, 2, 4, 6), 2),
    (1, 14, "2g.10gb", 9.62, 28, 3, (0, 2, 4), 2),
    (2, 9, "3g.20gb", 19.5, 42, 2, (0, 4), 4),
    (3, 5, "4g.20gb", 19.5, 56, 1, (0,), 4),
    (4, 0, "7g.40gb", 39.25, 98, 1, (0,), 8),
)
H100 = _board(
    (0, 19, "1g.10gb", 9.75, 16, 7, range(7), 1),
    (7, 20, "1g.10gb+me", 9.75, 16, 1, range(7), 1),
    (9, 15, "1g.20gb", 19.62, 26, 4, (0, 2, 4, 6), 2),
    (1, 14, "2g.20gb", 19.62, 32, 3, (0, 2, 4), 2),
    (2, 9, "3g.40gb", 39.5, 60, 2, (0, 4), 4),
    (3, 5, "4g.40gb", 39.5, 64, 1, (0,), 4),
    (4, 0, "7g.80gb", 79.25, 132, 1, (0,), 8),
)
A30 = _board(
    (0, 14, "1g.6gb", 5.81, 14, 4, range(4), 1),
    (7, 21, "1g.6gb+me", 5.81, 14, 1, range(4), 1),
    (1, 5, "2g.12gb", 11.69, 28, 2, (0, 2), 2),
    (8, 6, "2g.12gb+me", 11.69, 28, 1, (0, 2), 2),
    (3, 0, "4g.24gb", 23.44, 56, 1, (0,), 4),
)
RTX_PRO_6000 = _board(
    (0, 14, "1g.24gb", 23.62, 46, 4, (0, 3, 6, 9), 3),
    (7, 21, "1g.24gb+me", 23.62, 46, 1, (0, 3, 6, 9), 3),
    (10, 47, "1g.24gb+gfx", 23.62, 46, 4, (0, 3, 6, 9), 3),
    (15, 65, "1g.24gb+me.all", 23.62, 46, 1, (0, 3, 6, 9), 3),
    (13, 67, "1g.24gb-me", 23.62, 46, 4, (0, 3, 6, 9), 3),
    (1, 5, "2g.48gb", 47.38, 94, 2, (0, 6), 6),
    (11, 35, "2g.48gb+gfx", 47.38, 94, 2, (0, 6), 6),
    (16, 64, "2g.48gb+me.all", 47.38, 94, 1, (0, 6), 6),
    (14, 66, "2g.48gb-me", 47.38, 94, 2, (0, 6), 6),
    (3, 0, "4g.96gb", 95.0, 188, 1, (0,), 12),
    (12, 32, "4g.96gb+gfx", 95.0, 188, 1, (0,), 12),
)
BOARDS = {"A100": A100, "H100": H100, "A30": A30, "RTX PRO 6000": RTX_PRO_6000}


def profile(board, name):
    """Find a profile by its name, or by as much of it as is unlike: `3g`, `1g+me`."""
    return next(each for each in board if name in (each.name, _short(each.name)))


def _short(name):
    """Leave the memory out: `1g+me.all` of `1g.24gb+me.all`."""
    return re.sub(r"\.\d+gb", "", name)


def _parse(board, text):
    """Read `3g@4:1,2` as profile, start, compute slices; without `:` one of all slices."""
    head, colon, inside = text.partition(":")
    name, _, start = head.partition("@")
    found = profile(board, name)
    whole = "" if colon else str(found.slices)
    sizes = [int(size) for size in (inside or whole).split(",") if size]
    return found, int(start) if start else None, tuple(COMPUTE[size] for size in sizes)


def layout(board, text):
    """Make wanted instances: `3g@4 2g:1,1 1g`."""
    parsed = [_parse(board, each) for each in text.split()]
    return tuple(
        WantedInstance(profile=found.id, compute=compute, start=start)
        for found, start, compute in parsed
    )


def instances(board, text):
    """Make instances that exist; the id of each is 10 and its place in the text."""
    made = []
    for number, each in enumerate(text.split()):
        found, start, compute = _parse(board, each)
        made.append(
            GpuInstance(
                id=10 + number,
                profile=found.id,
                placement=next(place for place in found.placements if place.start == start),
                compute=tuple(
                    ComputeInstance(id=index, profile=id_, uuid=f"MIG-{number}-{index}")
                    for index, id_ in enumerate(compute)
                ),
            )
        )
    return tuple(made)


def mig_gpu(board, text="", held=(), **facts):
    """Make a GPU in MIG mode; held: (GPU instance id, compute instance id), ..."""
    values = {
        "uuid": "GPU-0",
        "profiles": board,
        "enabled": True,
        "pending": True,
        "instances": instances(board, text),
        "holders": {key: (f"pod-{key[0]}-{key[1]}",) for key in held},
    }
    return MigGpu(**{**values, **facts})
