"""The placement key written down once more, set by set, without tables or bit tricks."""

from functools import cache
from itertools import combinations

from placement_machines import bits, ranks

from agent._native import PlacementPolicy as Policy
from agent._native import PlacementTerm as Term

T = Term
BY_ITSELF = (T.RING, T.MIN_PAIR, T.CLIQUE, T.NUMA_NODES, T.SOCKETS)
LEFT = (T.FRAGMENTATION, T.REST_SUM, T.REST_REACH)
RAILS = (T.RAILS, T.RAIL_DEVICES)
LAST = (T.SUM_PAIR, T.PENALTY, T.ORDER)
PAIRS, PLACES = BY_ITSELF[:3], BY_ITSELF[3:]


def terms_of(policy, size, wanted):
    """Return the order of terms, written out."""
    likes = wanted > 0 or policy is Policy.RDMA
    left = (*RAILS, *LEFT) if likes else LEFT
    after = () if likes else RAILS
    if size <= 1:
        return (*left, *_itself(policy), *after, *LAST)
    if policy is Policy.PACK:
        return (T.RING, *left, *BY_ITSELF[1:], *after, *LAST)
    if policy is Policy.SPREAD:
        return (*BY_ITSELF, *RAILS, *LEFT, *LAST)
    return (*_itself(policy), *left, *after, *LAST)


def _itself(policy):
    return (*PLACES, *PAIRS) if policy is Policy.NUMA_FIRST else BY_ITSELF


class Oracle:
    def __init__(self, machine):
        self.facts = machine.facts()
        self.pairs = machine.pair_gbps
        self.size = machine.size
        self.ring = cache(self._ring)
        self.grade = cache(self._grade)
        self.fragmentation = cache(self._fragmentation)
        self.packed = cache(self._packed)
        self.top = cache(self._top)

    def values(self, chosen):
        return [self.pairs[a][b] for a, b in combinations(chosen, 2)]

    def _ring(self, chosen):
        if len(chosen) < 2:
            return 0
        if len(chosen) == 2:
            return self.values(chosen)[0]
        return max(t for t in set(self.values(chosen)) if self._has_cycle(chosen, t))

    def _has_cycle(self, chosen, least):
        start = chosen[0]

        def onward(at, left):
            return ((b, left - {b}) for b in left if self.pairs[at][b] >= least)

        # A dozen GPUs with no ring have millions of ways, which mostly meet again.
        seen = set()
        ways = [iter([(start, frozenset(chosen[1:]))])]
        while ways:
            state = next(ways[-1], None)
            if state is None:
                ways.pop()
            elif state not in seen:
                seen.add(state)
                at, left = state
                if not left and self.pairs[at][start] >= least:
                    return True
                ways.append(onward(at, left))
        return False

    def spanned(self, name, chosen):
        """Return how many are known, and how many devices are nowhere known."""
        masks = [self.facts[name][d] for d in chosen]
        return len({bit for m in masks for bit in ranks(m)}), masks.count(0)

    def _grade(self, chosen):
        return (
            min(self.values(chosen), default=0),
            -sum(self.spanned("numa", chosen)),
            -sum(self.spanned("socket", chosen)),
        )

    def _top(self, size):
        return max(map(self.grade, combinations(range(self.size), size)))

    def _packed(self, free, size):
        """Return the most disjoint sets of the top grade."""
        if len(free) < size:
            return 0
        first, others = free[0], free[1:]
        best = self.packed(others, size)
        for more in combinations(others, size - 1):
            if self.grade((first, *more)) == self.top(size):
                left = tuple(d for d in others if d not in more)
                best = max(best, 1 + self.packed(left, size))
            if best == len(free) // size:
                break
        return best

    def _fragmentation(self, free):
        total = 0
        for size, weight in ((2, 10), (4, 16), (8, 8)):
            if len(free) >= size:
                best = max(min(self.values(s)) for s in combinations(free, size))
                top = self.top(size)[0]
                share = 1000 * best // top if top else 1000
                total += weight * (share + 1000 * self.packed(free, size))
        return total

    def key(self, chosen, free, policy, wanted=0, rails_free=None):
        chosen = tuple(sorted(chosen))
        rest = tuple(sorted(set(free) - set(chosen)))
        cliques = {self.facts["clique"][d] for d in chosen}
        likes = wanted > 0 or policy in (Policy.RDMA, Policy.SPREAD)
        rails = [self.facts["rails"][d] for d in chosen]
        if likes and rails_free is not None:
            rails = [mask & rails_free for mask in rails]
        covered = len({rail for mask in rails for rail in ranks(mask)})
        beside = sum(mask != 0 for mask in rails)
        nodes, sockets = self.spanned("numa", chosen), self.spanned("socket", chosen)
        spread = policy is Policy.SPREAD
        value = {
            T.RING: self.ring(chosen),
            T.MIN_PAIR: min(self.values(chosen), default=0),
            T.CLIQUE: int(len(chosen) < 2 or (len(cliques) == 1 and cliques != {-1})),
            T.NUMA_NODES: nodes[0] if spread else -sum(nodes),
            T.SOCKETS: sockets[0] if spread else -sum(sockets),
            T.FRAGMENTATION: self.fragmentation(rest),
            T.REST_SUM: sum(self.values(rest)),
            T.REST_REACH: sum(self.pairs[a][b] for a in rest for b in range(self.size) if a != b),
            T.RAILS: min(covered, wanted or covered) if likes else -covered,
            T.RAIL_DEVICES: beside if likes else -beside,
            T.SUM_PAIR: sum(self.values(chosen)),
            T.PENALTY: -sum(self.facts["penalty"][d] for d in chosen),
            T.ORDER: int("".join(str(int(d in chosen)) for d in range(self.size)), 2),
        }
        return tuple(value[term] for term in terms_of(policy, len(chosen), wanted))

    def ranking(self, available, must, size, free, policy, wanted=0, rails_free=None):
        """Return every allowed set with its key, best first."""
        free = set(free) | set(available)
        pool = sorted(set(available) - set(must))
        sets = [(*must, *more) for more in combinations(pool, size - len(must))]
        asked = (free, policy, wanted, rails_free)
        return sorted(((self.key(s, *asked), bits(*s)) for s in sets), reverse=True)
