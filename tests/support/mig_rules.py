"""A GPU in MIG mode as plain sets, for tests: refuses what a driver refuses. Shares no code with
the planner.

A state is a frozenset of (profile, start, ((compute profile, held), ...)).
"""

from collections import Counter, deque

from agent.planning.mig_steps import (
    CreateComputeInstance,
    CreateGpuInstance,
    DestroyComputeInstance,
    DestroyGpuInstance,
    Existing,
    SetMigMode,
)


class RefusedError(Exception):
    pass


class Rules:
    """What one board allows."""

    def __init__(self, board):
        self.profiles = {each.id: each for each in board}
        self.slices = max(each.slices for each in board)

    def compute_fits(self, profile, compute):
        sizes = {each.id: each for each in self.profiles[profile].compute}
        if any(id_ not in sizes for id_ in compute):
            return False
        if any(n > sizes[id_].most for id_, n in Counter(compute).items()):
            return False
        return sum(sizes[id_].slices for id_ in compute) <= self.profiles[profile].slices

    def gpu_fits(self, pairs):
        """Whether (profile, start) pairs can lie on one GPU."""
        taken = []
        for profile, start in pairs:
            places = {each.start: each.size for each in self.profiles[profile].placements}
            if start not in places:
                return False
            taken += range(start, start + places[start])
        counts = Counter(profile for profile, _ in pairs)
        return (
            len(taken) == len(set(taken))
            and all(n <= self.profiles[id_].most for id_, n in counts.items())
            and sum(self.profiles[id_].slices for id_, _ in pairs) <= self.slices
        )

    def neighbours(self, state):
        """Every state one step away that touches nothing held."""
        pairs = [(profile, start) for profile, start, _ in state]
        for profile in self.profiles.values():
            for place in profile.placements:
                if self.gpu_fits([*pairs, (profile.id, place.start)]):
                    yield state | {(profile.id, place.start, ())}
        for each in state:
            profile, start, compute = each
            rest = state - {each}
            if not compute:
                yield rest
            for index, (_, held) in enumerate(compute):
                if not held:
                    yield rest | {(profile, start, compute[:index] + compute[index + 1 :])}
            for size in self.profiles[profile].compute:
                if self.compute_fits(profile, [*(id_ for id_, _ in compute), size.id]):
                    more = tuple(sorted([*compute, (size.id, False)]))
                    yield rest | {(profile, start, more)}

    def distances(self, state):
        """Steps to every state within reach, breadth first."""
        found, queue = {state: 0}, deque([state])
        while queue:
            here = queue.popleft()
            for there in self.neighbours(here):
                if there not in found:
                    found[there] = found[here] + 1
                    queue.append(there)
        return found


def state_of(gpu):
    """The state of a MigGpu."""
    return frozenset(
        (
            each.profile,
            each.placement.start,
            tuple(
                sorted((c.profile, bool(gpu.holders.get((each.id, c.id)))) for c in each.compute)
            ),
        )
        for each in gpu.instances
    )


def pins(wanted):
    """A layout as a list of (profile, start or None, compute), whatever its order."""
    return [(each.profile, each.start, tuple(sorted(each.compute))) for each in wanted]


def has(state, wanted):
    """Whether a state is a layout: one instance for each wanted one, and no other."""
    left = Counter((p, s, tuple(id_ for id_, _ in compute)) for p, s, compute in state)
    if sum(left.values()) != len(wanted):
        return False
    for profile, start, compute in sorted(pins(wanted), key=lambda pin: pin[1] is None):
        match = next(
            (
                each
                for each, n in left.items()
                if n and (each[0], each[2]) == (profile, compute) and start in (None, each[1])
            ),
            None,
        )
        if match is None:
            return False
        left[match] -= 1
    return True


class Machine:
    """Executes steps on one GPU."""

    def __init__(self, gpu):
        self.rules = Rules(gpu.profiles) if gpu.profiles else None
        self.enabled = gpu.enabled
        self.pending = gpu.pending
        self.whole_held = bool(gpu.whole_holders)
        self.there = {
            each.id: (each.profile, each.placement.start, {c.id: c.profile for c in each.compute})
            for each in gpu.instances
        }
        self.held = {key for key, names in gpu.holders.items() if names}
        self.made = {}

    def run(self, steps):
        for step in steps:
            self.step(step)
        return self

    def step(self, step):
        match step:
            case SetMigMode():
                self._set_mode(step)
            case DestroyComputeInstance():
                self._need((step.instance.id, step.compute.id) not in self.held, "in use")
                del self.there[step.instance.id][2][step.compute.id]
            case DestroyGpuInstance():
                self._need(not self.there[step.instance.id][2], "has compute instances")
                del self.there[step.instance.id]
            case CreateGpuInstance():
                self._need(self.enabled, "MIG mode is off")
                pairs = [(profile, start) for profile, start, _ in self.there.values()]
                new = (step.profile, step.placement.start)
                sizes = [p.size for p in self.rules.profiles[step.profile].placements]
                self._need(step.placement.size in sizes, "no such size")
                self._need(self.rules.gpu_fits([*pairs, new]), "does not fit")
                self.made[step.number] = id_ = 1000 + len(self.made)
                self.there[id_] = (*new, {})
            case CreateComputeInstance(inside=inside):
                id_ = inside.id if isinstance(inside, Existing) else self.made[inside.number]
                profile, _, compute = self.there[id_]
                after = [*compute.values(), step.profile]
                self._need(self.rules.compute_fits(profile, after), "does not fit inside")
                compute[max(compute, default=99) + 1] = step.profile

    def _set_mode(self, step):
        if step.enabled != self.enabled:
            self._need(not self.there, "has instances")
            self._need(not self.whole_held, "in use")
        self.enabled = self.pending = step.enabled

    @staticmethod
    def _need(condition, why):
        if not condition:
            raise RefusedError(why)

    def state(self):
        return frozenset(
            (
                profile,
                start,
                tuple(sorted((c, (id_, n) in self.held) for n, c in compute.items())),
            )
            for id_, (profile, start, compute) in self.there.items()
        )
