"""Racks of 72 GPUs, and their placement key worked out from counts of sockets alone."""

from itertools import product
from math import comb

from placement_machines import PlacementMachine, bits, nodes
from placement_oracle import terms_of

from agent._native import PlacementPolicy as Policy
from agent._native import PlacementTerm as T

NVLINK, BETWEEN_RACKS = 900, 50
SOCKETS = 36  # 18 trays of two, with two GPUs each
GPUS = 2 * SOCKETS


def racks(count):
    """Make racks: NVLink joins all of one, every GPU has a rail of its own."""
    ranks = range(count * GPUS)

    def gbps(a, b):
        return 0 if a == b else NVLINK if a // GPUS == b // GPUS else BETWEEN_RACKS

    return PlacementMachine(
        pair_gbps=[[gbps(a, b) for b in ranks] for a in ranks],
        numa=nodes(*(i // 2 for i in ranks)),
        clique=[i // GPUS for i in ranks],
        rails=[1 << i for i in ranks],
    )


def count_vectors(free, size):
    """Yield what sets of a size take of each rack's sockets.

    Of a rack that is how many of its whole sockets it takes both GPUs of, how many one of, and
    how many of those with only one GPU free.
    """
    spans = []
    for both, one in free:
        takes = product(range(both + 1), range(both + 1), range(one + 1))
        spans.append([t for t in takes if t[0] + t[1] <= both and taken(t) <= size])
    *before, last = spans
    by_size = {}
    for take in last:
        by_size.setdefault(taken(take), []).append(take)
    for takes in product(*before):
        for take in by_size.get(size - sum(map(taken, takes)), []):
            yield (*takes, take)


def taken(take):
    return 2 * take[0] + take[1] + take[2]


def ways(free, takes):
    """Return how many sets a vector stands for."""
    count = 1
    for (both, one), (whole, halves, singles) in zip(free, takes, strict=True):
        count *= comb(both, whole) * comb(both - whole, halves) * 2**halves * comb(one, singles)
    return count


def lowest_set(available, takes):
    """Return the set of lowest ranks a vector stands for."""
    chosen = []
    for rack, (both, half, single) in enumerate(takes):
        # What is left to take of sockets with one GPU free, and of those with two.
        left = {1: [1] * single, 2: [1] * half + [2] * both}
        for first in range(rack * GPUS, (rack + 1) * GPUS, 2):
            there = [rank for rank in (first, first + 1) if available >> rank & 1]
            if left.get(len(there)):
                chosen += there[: left[len(there)].pop()]
    return bits(*chosen)


def sum_of_pairs(counts):
    within = sum(comb(count, 2) for count in counts)
    return NVLINK * within + BETWEEN_RACKS * (comb(sum(counts), 2) - within)


def fragmentation(pairs, left):
    """Work out what fits: pairs in sockets; fours and eights, with no socket for one, in racks."""
    total = 0
    for size, weight, fit in (
        (2, 10, pairs),
        (4, 16, sum(count // 4 for count in left)),
        (8, 8, sum(count // 8 for count in left)),
    ):
        if sum(left) >= size:
            best = NVLINK if max(left) >= size else BETWEEN_RACKS
            total += weight * (1000 * best // NVLINK + 1000 * fit)
    return total


def reach(racks):
    """Sum the pairs of one GPU with all others."""
    in_rack = 2 * SOCKETS
    return (in_rack - 1) * NVLINK + (racks - 1) * in_rack * BETWEEN_RACKS


def key_of(free, takes, policy, wanted):
    """Return the key but for the order."""
    counts = [taken(take) for take in takes]
    size = sum(counts)
    one_rack = max(counts) == size
    pair = 0 if size < 2 else NVLINK if one_rack else BETWEEN_RACKS
    sockets = sum(sum(take) for take in takes)
    left = [2 * both + one - count for (both, one), count in zip(free, counts, strict=True)]
    whole = sum(both - take[0] - take[1] for (both, _), take in zip(free, takes, strict=True))
    spread = policy is Policy.SPREAD
    likes = wanted > 0 or policy in (Policy.RDMA, Policy.SPREAD)
    value = {
        T.RING: pair,
        T.MIN_PAIR: pair,
        T.CLIQUE: int(one_rack),
        T.NUMA_NODES: sockets if spread else -sockets,
        T.SOCKETS: sockets if spread else -sockets,
        T.FRAGMENTATION: fragmentation(whole, left),
        T.REST_SUM: sum_of_pairs(left),
        T.REST_REACH: sum(left) * reach(len(free)),
        T.RAILS: min(size, wanted or size) if likes else -size,
        T.RAIL_DEVICES: size if likes else -size,
        T.SUM_PAIR: sum_of_pairs(counts),
        T.PENALTY: 0,
    }
    return tuple(value[term] for term in terms_of(policy, size, wanted)[:-1])


def best_of_racks(machine, available, size, policy, wanted=0):
    """Return the two best keys, but for the order, and the best set."""
    sockets = [(available >> first & 3).bit_count() for first in range(0, machine.size, 2)]
    of_racks = [sockets[first : first + SOCKETS] for first in range(0, len(sockets), SOCKETS)]
    free = [(rack.count(2), rack.count(1)) for rack in of_racks]
    keyed = [(key_of(free, takes, policy, wanted), takes) for takes in count_vectors(free, size)]
    best = max(key for key, _ in keyed)
    like_best = [takes for key, takes in keyed if key == best]
    others = [key for key, _ in keyed if key != best]
    repeated = sum(ways(free, takes) for takes in like_best) > 1
    second = best if repeated else max(others, default=None)
    sets = [lowest_set(available, takes) for takes in like_best]
    return best, second, max(sets, key=lambda each: f"{each:0{machine.size}b}"[::-1])
