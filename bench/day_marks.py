"""What a choice of GPUs is worth, worked out by trying every set.

The *bandwidth* of a set is (GB/s of the slowest hop of its best ring, GB/s of its slowest pair),
compared in this order, from the model's values of pairs. The set of a size is *best of the node*
when no set of that size on the empty node has more bandwidth, and *best of the free* when none of
what was free at that moment has.

Over jobs of two or more GPUs:

  best_of_node         share that got a set that is best of the node
  best_of_free         share that got a set that is best of the free
  pair_ratio           mean of slowest pair / slowest pair of the best of the node
  pair_ratio_of_free   mean of slowest pair / slowest pair of the best of the free
  needless_crossings   share whose set spans more NUMA nodes than the fewest that any best of the
                       free spans. A GPU of unknown node spans one of its own
  needless_sockets     the same of sockets

Over all placements, single GPUs included, after which at least as many are free:

  fits_2, fits_4       share after which a set of that size is free that is best of the node (a
                       set of eight is the whole node here: none is left after any placement)

None where there was nothing to count. Of the LESS_IS_BETTER less is better, of the others more.
"""

from functools import cache
from itertools import combinations, pairwise, permutations

SIZES = (2, 4)
LESS_IS_BETTER = ("needless_crossings", "needless_sockets")


class Judge:
    def __init__(self, pair_gbps, numa, socket):
        """Take the values of pairs, and bit masks of NUMA nodes and of sockets per GPU."""
        self._gbps, self._numa, self._socket = pair_gbps, numa, socket
        self._all = frozenset(range(len(numa)))
        self.bandwidth = cache(self._bandwidth)
        self.best = cache(self._best)

    def _bandwidth(self, chosen):
        first, *others = chosen
        pairs = [self._gbps[a][b] for a, b in combinations(chosen, 2)]
        rings = ((first, *order, first) for order in permutations(others))
        ring = max(min(self._gbps[a][b] for a, b in pairwise(each)) for each in rings)
        return ring, min(pairs)

    def _best(self, free, size):
        """Return the highest bandwidth of a set, the fewest nodes and sockets for it."""
        sets = list(combinations(sorted(free), size))
        highest = max(map(self.bandwidth, sets))
        best = [each for each in sets if self.bandwidth(each) == highest]
        nodes, sockets = (
            min(spanned(places, each) for each in best) for places in (self._numa, self._socket)
        )
        return highest, nodes, sockets

    def marks(self, free, chosen):
        """Return what a choice out of a free set is worth, by metric."""
        found = {f"fits_{size}": self._fits(free - set(chosen), size) for size in SIZES}
        return found | (self._marks_of_set(free, chosen) if len(chosen) > 1 else {})

    def _marks_of_set(self, free, chosen):
        chosen = tuple(sorted(chosen))
        got, size = self.bandwidth(chosen), len(chosen)
        of_node = self.best(self._all, size)[0]
        of_free, nodes, sockets = self.best(free, size)
        return {
            "best_of_node": got == of_node,
            "best_of_free": got == of_free,
            "pair_ratio": got[1] / of_node[1],
            "pair_ratio_of_free": got[1] / of_free[1],
            "needless_crossings": spanned(self._numa, chosen) > nodes,
            "needless_sockets": spanned(self._socket, chosen) > sockets,
        }

    def _fits(self, free, size):
        if len(free) < size:
            return None
        return self.best(free, size)[0] == self.best(self._all, size)[0]


def spanned(places, chosen):
    """Return how many places a set spans, each unknown one counted by itself."""
    known = 0
    for rank in chosen:
        known |= places[rank]
    return known.bit_count() + sum(places[rank] == 0 for rank in chosen)


METRICS = (
    "best_of_node",
    "best_of_free",
    "pair_ratio",
    "pair_ratio_of_free",
    *LESS_IS_BETTER,
    *(f"fits_{size}" for size in SIZES),
)


def mean(marks):
    """Return the mean of each metric over all marks that have it."""
    found = {}
    for metric in METRICS:
        values = [mark[metric] for mark in marks if mark.get(metric) is not None]
        found[metric] = sum(values) / len(values) if values else None
    return found
