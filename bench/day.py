"""A day in the life of a node: how good the GPUs are that jobs get, beside other ways to choose.

Every capture in tests/machines is made into a simulated machine and looked at as the agent does.
On each, all contenders (bench.day_contenders) serve the same jobs (bench.day_jobs), each from
what its own choices left free, and are judged alike (bench.day_marks says by what). No kubelet
narrows the choice here, and nobody asks for NICs.
"""

import os
import pickle
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from agent.planning.placement_model import build_model
from agent.simulation import machines
from bench.day_contenders import CONTENDERS
from bench.day_jobs import LOAD, MIX, jobs, offers, starts
from bench.day_marks import LESS_IS_BETTER, METRICS, Judge, mean

OURS = "plumbline"
MEMORY = Path("/dev/shm")
MACHINES = Path(__file__).parents[1] / "tests" / "machines"


async def measure(count: int) -> dict[str, object]:
    shapes = {name: _day(inventory, count) for name, inventory in _inventories().items()}
    means = {
        each: mean([shape["contenders"][each] for shape in shapes.values()]) for each in CONTENDERS
    }
    return {
        "what": "shares and ratios as bench/day_marks.py defines them",
        "jobs_per_shape": count,
        "mix": MIX,
        "load": LOAD,
        "mean_over_shapes": means,
        "beside": {each: _beside(means, each) for each in CONTENDERS if each != OURS},
        "not_best": [loss for name, shape in shapes.items() for loss in _losses(name, shape)],
        "shapes": shapes,
        "aim": f"best_of_free 1, {' and '.join(LESS_IS_BETTER)} 0 on every shape",
    }


def _inventories():
    """Return what the agent sees of a machine made from each capture."""
    # Thousands of small files each: in memory where that is to be had.
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        made = {path.stem: Path(folder) / path.stem for path in sorted(MACHINES.glob("*.txt"))}
        for name, target in made.items():
            machines.import_capture(str(MACHINES / f"{name}.txt"), target)
        command = [sys.executable, MACHINES / "observe_each.py", *made.values()]
        done = subprocess.run(command, capture_output=True, check=True)
    return dict(zip(made, pickle.loads(done.stdout), strict=True))


def _day(inventory, count):
    model = build_model(inventory, inventory.gpus)
    gpus, shuffler = len(model.uuids), random.Random(1)
    judge = Judge(model.pair_gbps, model.numa, model.socket)
    day = starts(jobs(count, gpus, shuffler), gpus)
    orders = offers(count, gpus, shuffler)
    return {
        "gpus": gpus,
        "jobs_that_waited": sum(start.waited for start in day) / count,
        "contenders": {
            name: mean(_serve(make(inventory), judge, day, orders))
            for name, make in CONTENDERS.items()
        },
    }


def _serve(take, judge, day, orders):
    """Let one contender serve a day; return the marks of each of its choices."""
    free, held, marks = frozenset(orders[0]), {}, []
    for start, order in zip(day, orders, strict=True):
        free = free.union(*(held.pop(number) for number in start.ended))
        chosen = frozenset(take([rank for rank in order if rank in free], start.size))
        if len(chosen) != start.size or not chosen <= free:
            raise RuntimeError(f"{sorted(chosen)} is no choice of {start.size} of {sorted(free)}")
        marks.append(judge.marks(free, chosen))
        free, held[start.number] = free - chosen, chosen
    return marks


def _beside(means, other):
    """Return our mean by another's; None where that is nothing."""
    return {
        metric: means[OURS][metric] / means[other][metric] if means[other][metric] else None
        for metric in METRICS
    }


def _losses(name, shape):
    """Yield where a contender did better than Plumbline on a shape."""
    ours = shape["contenders"][OURS]
    for other, theirs in shape["contenders"].items():
        for metric in METRICS:
            if ours[metric] is None:
                continue
            lead = ours[metric] - theirs[metric]
            if (-lead if metric in LESS_IS_BETTER else lead) < 0:
                yield {"shape": name, "metric": metric, OURS: ours[metric], other: theirs[metric]}
