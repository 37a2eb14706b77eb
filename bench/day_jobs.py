"""The jobs of a day: how many GPUs, when and for how long. The same for every contender.

Jobs of 1, 2, 4 and 8 GPUs come in the shares of MIX, a size that the node does not have left
out. They come at random times and stay for a random time (both exponential), so many that LOAD
of the node's GPU time is asked for. One that finds too few GPUs free waits, and all that come
later wait behind it. When a job starts thus depends on numbers alone, never on which GPUs the
jobs before it got: contenders meet the same starts and ends, with the same number free.
"""

import heapq

from msgspec import Struct

MIX = {1: 0.5, 2: 0.25, 4: 0.2, 8: 0.05}
LOAD = 0.5  # about half of the jobs then have to wait


class Job(Struct, frozen=True, dict=True):
    size: int
    arrives: float
    lasts: float


class Start(Struct, frozen=True, dict=True):
    """A job starts, the ``number``th; before it, those of these numbers have ended."""

    number: int
    size: int
    ended: tuple[int, ...]
    waited: bool


def jobs(count, gpus, shuffler):
    """Return so many jobs for a node of so many GPUs, in the order they come."""
    sizes = [size for size in MIX if size <= gpus]
    weights = [MIX[size] for size in sizes]
    mean = sum(size * weight for size, weight in zip(sizes, weights, strict=True)) / sum(weights)
    now, found = 0.0, []
    for size in shuffler.choices(sizes, weights, k=count):
        now += shuffler.expovariate(LOAD * gpus / mean)
        found.append(Job(size, now, shuffler.expovariate(1)))
    return found


def starts(arrivals, gpus):
    """Return when each job starts, as what has ended by then."""
    now, free, running, found = 0.0, gpus, [], []
    for number, job in enumerate(arrivals):
        ended = []
        now = max(now, job.arrives)
        while running and (running[0][0] <= now or free < job.size):
            end, other = heapq.heappop(running)
            now, free = max(now, end), free + arrivals[other].size
            ended.append(other)
        free -= job.size
        heapq.heappush(running, (now + job.lasts, number))
        found.append(Start(number, job.size, tuple(ended), now > job.arrives))
    return found


def offers(count, gpus, shuffler):
    """Return the order in which each job is offered the GPUs, as random as a kubelet's."""
    return [shuffler.sample(range(gpus), gpus) for _ in range(count)]
