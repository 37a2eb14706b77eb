"""Placement by the native engine alone, beside an answer that needs no search."""

import random
import statistics
import time

from agent._native import PlacementEngine, PlacementPolicy, SharePolicy

DEFAULT = PlacementPolicy.DEFAULT


async def measure(rounds: int) -> dict[str, object]:
    return {
        "requests_of_8": _requests(_halves(8), range(1, 9), rounds),
        "requests_of_16": {
            name: _requests(make(), range(1, 17), rounds) for name, make in SIXTEEN.items()
        },
        "tables_of_16": {name: _tables(make) for name, make in SIXTEEN.items()},
        "pcie_tree_of_32": _requests(_tree(32, seed=1), range(1, 5), rounds),
        "irregular_64": _requests(_irregular(64, seed=1), (3, 8, 32), rounds // 10),
        "like_64": _requests(_uniform(64, 900, nodes=1), (1, 8, 32), rounds),
        "like_72": _requests(_uniform(72, 900, nodes=1), (1, 8, 36), rounds),
        "rack_72": _requests(_racks(1), (1, 4, 8, 36, 71), rounds // 4),
        "racks_144": _requests(_racks(2), (1, 4, 8, 36, 72), rounds // 10),
        "replicas_16x64": _shares(64, rounds),
        "mig_16x7": _shares(7, rounds),
        "aims": {
            "requests_of_8": "call under 10 us, search under 2 us",
            "requests_of_16": "p99 under 150 us",
            "tables_of_16": "under 40 ms and 4 MiB",
            "pcie_tree_of_32": "exact, under 1000 us",
            "irregular_64": "under 1000 us",
            "like_64": "under 100 us",
            "like_72": "under 100 us",
            "rack_72": "exact, under 1000 us",
            "racks_144": "exact, under 1000 us",
            "replicas_16x64": "64 shares under 100 us",
            "mig_16x7": "under 50 us",
        },
    }


def _engine(pairs, numa, rails=None):
    count = len(pairs)
    return PlacementEngine(
        pair_gbps=pairs,
        numa=numa,
        socket=numa,
        clique=[-1] * count,
        rails=rails or [1 << i for i in range(count)],
        penalty=[0] * count,
    )


def _uniform(count, gbps, nodes):
    pairs = [[gbps] * count for _ in range(count)]
    return _engine(pairs, [1 << (i * nodes // count) for i in range(count)])


def _halves(count):
    return _uniform(count, 450, nodes=2)


def _tree(count, seed):
    """Make switches of one to a few GPUs, below roots, below nodes."""
    shuffler = random.Random(seed)
    switches = sorted(shuffler.randrange(count // 3) for _ in range(count))

    def gbps(x, y):
        if x == y:
            return 24
        if x // 2 == y // 2:
            return 22
        return 12 if x // 4 == y // 4 else 8

    pairs = [[gbps(x, y) for y in switches] for x in switches]
    return _engine(pairs, [1 << (x // 4) for x in switches], [1 << x for x in switches])


def _racks(count):
    """Make racks of 18 trays of two sockets of two GPUs, joined by NVLink within a rack."""
    everyone = range(count * 72)
    pairs = [[900 if a // 72 == b // 72 else 50 for b in everyone] for a in everyone]
    return _engine(pairs, [1 << (rank // 2) for rank in everyone])


def _irregular(count, seed):
    shuffler = random.Random(seed)
    pairs = [[0] * count for _ in range(count)]
    for a in range(count):
        for b in range(a):
            pairs[a][b] = pairs[b][a] = shuffler.randrange(8, 900)
    return _engine(pairs, [1 << shuffler.randrange(4) for _ in range(count)])


SIXTEEN = {
    "two_halves": lambda: _halves(16),
    "all_alike": lambda: _uniform(16, 450, nodes=1),
    "irregular": lambda: _irregular(16, seed=2),
}


def _timed(call, times):
    taken = []
    for _ in range(times):
        began = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return taken


def _summary(taken):
    ordered = sorted(taken)
    return {"p50": statistics.median(ordered), "p99": ordered[len(ordered) * 99 // 100]}


def _requests(engine, sizes, rounds):
    """Ask for each size out of everything; the floor is a request that leaves no choice."""
    most = PlacementEngine.most_devices
    everything = engine.choose(
        available=(1 << most) - 1, must=0, size=most, free=0, policy=DEFAULT
    ).chosen

    def ask(available, size):
        return lambda: engine.choose(
            available=available, must=0, size=size, free=everything, policy=DEFAULT
        )

    floor = _summary(_timed(ask(3, 2), rounds))
    by_size = {size: _summary(_timed(ask(everything, size), rounds)) for size in sizes}
    slowest = max(by_size, key=lambda size: by_size[size]["p50"])
    return {
        "microseconds_by_size": by_size,
        "floor_microseconds": floor,
        "worst_search_microseconds": by_size[slowest]["p50"] - floor["p50"],
        "worst_to_floor": by_size[slowest]["p50"] / floor["p50"],
        "exact": all(ask(everything, size)().exact for size in sizes),
    }


def _tables(make):
    milliseconds = [taken / 1e3 for taken in _timed(make, 5)]
    return {"milliseconds": statistics.median(milliseconds), "bytes": make().table_bytes}


def _shares(of_each, rounds):
    """Divide over sixteen parents: all free, and taken from unevenly."""
    engine = _halves(16)
    total = [of_each] * 16
    uneven = [of_each - i * of_each // 20 for i in range(16)]
    found = {}
    for policy in SharePolicy:
        for name, free in (("free", total), ("uneven", uneven)):
            for size in (1, 8, 64):
                taken = _timed(
                    lambda free=free, size=size, policy=policy: engine.choose_shares(
                        free=free, total=total, must=[0] * 16, size=size, policy=policy
                    ),
                    rounds,
                )
                found[f"{policy.name.lower()} {size} {name}"] = _summary(taken)
    return {"microseconds": found}
