"""The placement key where devices come in classes."""

from functools import cache

from placement_machines import bits
from placement_oracle import Oracle


class ClassOracle(Oracle):
    """Where devices of a class can stand for each other: sets are how many are taken of each.

    How fragmented a set leaves the machine is asked of the engine: other tests are about that.
    """

    def __init__(self, machine, classes):
        super().__init__(machine)
        self.classes = classes
        self.fragmentation = lambda left: machine.engine().fragmentation(bits(*left))

    def _ring(self, chosen):
        """Go round by classes: which one of a class a ring visits next does not matter."""
        members = {}
        for device in chosen:
            members.setdefault(self.classes[device], []).append(device)
        groups = tuple(members.values())
        hops = [[self.pairs[a[0]][b[-1]] for b in groups] for a in groups]
        counts = tuple(len(group) for group in groups)
        if len(chosen) < 2:
            return 0
        return max(t for t in {v for row in hops for v in row} if _goes_round(hops, counts, t))

    def ranking(self, available, must, size, *asked):
        """Return the lowest set of each vector of counts with its key, best first."""
        groups = {}
        for device in sorted(set(available) - set(must)):
            groups.setdefault(self.classes[device], []).append(device)
        sets = []
        for counts in _divisions([len(group) for group in groups.values()], size - len(must)):
            taken = zip(groups.values(), counts, strict=True)
            sets.append([*must, *(d for group, count in taken for d in group[:count])])
        return sorted(((self.key(each, *asked), bits(*each)) for each in sets), reverse=True)


def _divisions(most, total):
    """Yield every way to take a total out of groups of which there are so many."""
    if not most:
        yield from [()] if total == 0 else []
        return
    for count in range(min(most[0], total) + 1):
        for others in _divisions(most[1:], total - count):
            yield (count, *others)


def _goes_round(hops, counts, least):
    """Return whether a ring visits all of the counts over hops that are fast enough."""

    @cache
    def walk(at, left):
        if not any(left):
            return hops[at][0] >= least
        return any(
            count and hops[at][to] >= least and walk(to, _less(left, to))
            for to, count in enumerate(left)
        )

    return walk(0, _less(counts, 0))


def _less(counts, at):
    return (*counts[:at], counts[at] - 1, *counts[at + 1 :])
