"""Short ways to write how boards are divided."""

import re

from mig_boards import A30, A100, H100, RTX_PRO_6000

from agent.model.mig import ComputeInstance, GpuInstance, WantedInstance
from agent.planning.mig_plan import MigGpu

# Ids of compute profiles by slices: the same on every board.
COMPUTE = {size.slices: size.id for board in (A30, A100) for size in board[-1].compute}
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
