"""Planning and carrying out MIG layouts on a simulated H100 node, beside the bare calls of NVML.

The node is in memory, and its driver takes no time to create an instance, which a real one takes
some tenths of a second for: what is left is what the agent adds.
"""

import asyncio
import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pynvml
from msgspec.structs import replace

from agent.discovery.library import Session, simulated_machine
from agent.discovery.mig_gpus import read_mig_gpus
from agent.model.mig import ComputeInstance, GpuInstance, MigPlacement, WantedInstance
from agent.partition.change import change, journal_folder
from agent.partition.goal import plan
from agent.planning.mig_outcome import Plan
from agent.planning.mig_steps import CreateGpuInstance
from agent.simulation import machines

MEMORY = Path("/dev/shm")
BALANCED = (9, 14, 19, 19)  # ids of 3g.40gb, 2g.20gb and twice 1g.10gb
SEED = 5
COMPUTE = {19: 0, 20: 0, 15: 0, 14: 1, 9: 2, 5: 3, 0: 4}


async def measure(rounds: int) -> dict[str, object]:
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        machine = Path(folder) / "dgx"
        machines.create("dgx-h100", machine)
        # A process has one driver for good.
        command = [sys.executable, "-m", "bench.mig", str(machine), str(rounds)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        return json.loads(done.stdout)


def _measured(folder: str, rounds: int) -> dict[str, object]:
    with Session(simulated_machine(Path(folder))) as session:
        journals = journal_folder(session.machine)
        return {
            "plan_8_gpus_ms": _planning(rounds),
            "all_balanced_8_gpus": _applying(journals, rounds),
        }


def _planning(rounds: int) -> dict[str, object]:
    """Plan from random layouts to random layouts, all of which exist on these boards."""
    randomly = random.Random(SEED)
    readings = read_mig_gpus()
    took = []
    for _ in range(rounds):
        there = {each.uuid: _random_layout(randomly) for each in readings}
        empty = [_as_if(each, ()) for each in readings]
        made = {each.gpu: each.layout for each in plan(empty, there, {}) if isinstance(each, Plan)}
        divided = [_as_if(each, made.get(each.uuid, ())) for each in readings]
        goal = {each.uuid: _random_layout(randomly) for each in readings}
        began = time.perf_counter()
        plan(divided, goal, {})
        took.append((time.perf_counter() - began) * 1000)
    return {
        "median": round(statistics.median(took), 2),
        "p99": round(sorted(took)[int(len(took) * 0.99)], 2),
        "max": round(max(took), 2),
        "aim": "under 10",
    }


def _random_layout(randomly: random.Random) -> tuple[WantedInstance, ...]:
    """Return what fits, drawn profile by profile until the first that does not."""
    left, found = 7, []
    slices = {19: 1, 14: 2, 9: 3, 5: 4, 0: 7}
    while True:
        profile = randomly.choice(list(slices))
        if slices[profile] > left or (profile == 9 and len(found) > 1):
            return tuple(found)
        left -= slices[profile]
        found.append(WantedInstance(profile=profile, compute=(COMPUTE[profile],)))


def _as_if(reading, layout):
    """Return a reading as it would be in this layout."""
    sizes = {each.id: {p.start: p.size for p in each.placements} for each in reading.profiles}
    instances = tuple(
        GpuInstance(
            id=number,
            profile=each.profile,
            placement=MigPlacement(start=each.start, size=sizes[each.profile][each.start]),
            compute=tuple(
                ComputeInstance(id=i, profile=p, uuid=None) for i, p in enumerate(each.compute)
            ),
        )
        for number, each in enumerate(layout or ())
    )
    return replace(reading, enabled=True, pending=True, instances=instances)


def _applying(journals: Path, rounds: int) -> dict[str, object]:
    balanced = tuple(WantedInstance(profile=each, compute=(COMPUTE[each],)) for each in BALANCED)
    uuids = [each.uuid for each in read_mig_gpus()]
    on, off = dict.fromkeys(uuids, balanced), dict.fromkeys(uuids)
    (first, *_) = plan(read_mig_gpus(), {uuids[0]: balanced}, {})
    places = [
        (step.profile, step.placement.start, step.placement.size)
        for step in first.steps
        if isinstance(step, CreateGpuInstance)
    ]
    ours, bare = [], []
    for _ in range(rounds):
        for work, took in (
            (lambda: _change(on, journals), ours),
            (lambda: _bare(uuids, places), bare),
        ):
            began = time.perf_counter()
            work()
            took.append((time.perf_counter() - began) * 1000)
            _change(off, journals)
    calls = len(uuids) * (1 + 2 * len(places))
    floor = statistics.median(bare)
    return {
        "ms": round(statistics.median(ours), 2),
        "bare_calls_ms": round(floor, 2),
        "ratio": round(statistics.median(ours) / floor, 2),
        "calls": calls,
        "added_per_call_ms": round((statistics.median(ours) - floor) / calls, 3),
        "aim": "ratio under 1.2",
    }


def _change(goal, journals: Path) -> None:
    change(goal, folder=journals, held=dict, reset=None)


def _bare(uuids, places) -> None:
    for uuid in uuids:
        gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceSetMigMode(gpu, 1)
        for profile, start, size in places:
            place = pynvml.c_nvmlGpuInstancePlacement_t(start, size)
            made = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(
                gpu, profile, ctypes.byref(place)
            )
            pynvml.nvmlGpuInstanceCreateComputeInstance(made, COMPUTE[profile])


if __name__ == "__main__":
    json.dump(_measured(sys.argv[1], int(sys.argv[2])), sys.stdout)
