"""MIG plans do what they say on a GPU that knows nothing of the planner, in the fewest steps."""

from functools import cache
from itertools import combinations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mig_boards import A30, A100, H100, RTX_PRO_6000
from mig_rules import Machine, Rules, has, state_of
from mig_tables import mig_gpu, profile

from agent.model.mig import ComputeInstance, GpuInstance, WantedInstance
from agent.planning.mig_outcome import Blocked, Impossible, Plan
from agent.planning.mig_plan import plan_gpu
from agent.planning.mig_room import room

# Boards small enough to walk through every state of them.
SMALL = {
    "A30": tuple(profile(A30, name) for name in ("1g", "2g", "2g+me", "4g")),
    "A100": tuple(profile(A100, name) for name in ("2g", "3g", "4g", "7g")),
    "A100 1g": tuple(profile(A100, name) for name in ("1g+me", "1g.10gb", "3g", "4g")),
    "RTX": tuple(profile(RTX_PRO_6000, name) for name in ("1g+me", "2g", "2g+gfx", "4g")),
}
MODEST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def compute_of(draw, kind, *, whole=False):
    """Compute instances that fit one GPU instance."""
    if whole or draw(st.booleans()):
        return (kind.whole.id,)
    free, taken = kind.slices, []
    for _ in range(draw(st.integers(0, 3))):
        fitting = [each for each in kind.compute if each.slices <= free]
        if fitting:
            each = draw(st.sampled_from(fitting))
            free -= each.slices
            taken.append(each.id)
    return tuple(taken)


@st.composite
def starts(draw, board, *, most=7, whole=False):
    """GPU instances that can lie beside each other, as (profile, placement, compute)."""
    rules, chosen = Rules(board), []
    for _ in range(draw(st.integers(0, most))):
        fitting = [
            (kind, place)
            for kind in board
            for place in kind.placements
            if rules.gpu_fits([*((k.id, p.start) for k, p, _ in chosen), (kind.id, place.start)])
        ]
        if fitting:
            kind, place = draw(st.sampled_from(fitting))
            chosen.append((kind, place, draw(compute_of(kind, whole=whole))))
    return chosen


@st.composite
def gpus(draw, board, **shape):
    instances = tuple(
        GpuInstance(
            id=7 + index,
            profile=kind.id,
            placement=place,
            compute=tuple(
                ComputeInstance(id=n, profile=id_, uuid=None) for n, id_ in enumerate(compute)
            ),
        )
        for index, (kind, place, compute) in enumerate(draw(starts(board, **shape)))
    )
    keys = [(each.id, c.id) for each in instances for c in each.compute]
    held = [key for key in keys if draw(st.integers(0, 3)) == 0]
    mode = {"enabled": True, "pending": draw(st.sampled_from([True, True, False]))}
    if draw(st.integers(0, 5)) == 0:
        holders = ("pod",) if draw(st.booleans()) else ()
        mode = {**mode, "enabled": False, "whole_holders": holders}
        instances, held = (), ()
    return mig_gpu(board, "", held, instances=instances, **mode)


@st.composite
def layouts(draw, board, *, whole=False, **shape):
    """Layouts that fit an empty GPU, and some that do not."""
    if draw(st.integers(0, 9)) == 0:
        return None
    if draw(st.integers(0, 3)) == 0:
        kinds = draw(st.lists(st.sampled_from(board), max_size=5))
        return tuple(
            WantedInstance(
                profile=kind.id,
                compute=draw(compute_of(kind, whole=whole)),
                start=draw(st.sampled_from([None, None, *(p.start for p in kind.placements)])),
            )
            for kind in kinds
        )
    return tuple(
        WantedInstance(
            profile=kind.id, compute=compute, start=draw(st.sampled_from([None, place.start]))
        )
        for kind, place, compute in draw(starts(board, whole=whole, **shape))
    )


def check(gpu, wanted):
    """Check an outcome against the GPU that refuses; return it."""
    outcome = plan_gpu(gpu, wanted)
    before = state_of(gpu)
    if isinstance(outcome, Impossible):
        assert outcome.reasons
        assert outcome.offers
        empty = mig_gpu(gpu.profiles)
        nearest = plan_gpu(empty, outcome.nearest)
        assert has(Machine(empty).run(nearest.steps).state(), outcome.nearest)
        return outcome
    plan = outcome.now if isinstance(outcome, Blocked) else outcome
    machine = Machine(gpu).run(plan.steps)
    if isinstance(outcome, Plan):
        assert machine.enabled == machine.pending == (wanted is not None)
        assert has(machine.state(), wanted or ())
    else:
        assert outcome.obstacles
        assert machine.enabled == gpu.enabled
    assert has(machine.state(), plan.layout or ())
    assert held_in(before) <= held_in(machine.state())
    return outcome


def held_in(state):
    return {
        (profile, start, compute.count((id_, True)), id_)
        for profile, start, compute in state
        for id_, held in compute
        if held
    }


def freed(gpu, keys):
    """The same GPU after some have let go."""
    holders = {key: names for key, names in gpu.holders.items() if key not in keys}
    return mig_gpu(gpu.profiles, "", instances=gpu.instances, holders=holders)


@given(st.data())
@settings(MODEST, max_examples=150)
def test_plans_reach_the_layout_and_touch_nothing_held(data):
    board = data.draw(st.sampled_from([A100, H100, A30, RTX_PRO_6000]))

    check(data.draw(gpus(board)), data.draw(layouts(board)))


@given(st.data())
@MODEST
def test_the_order_of_instances_changes_nothing(data):
    gpu, wanted = data.draw(gpus(A100)), data.draw(layouts(A100))
    shuffled = mig_gpu(
        A100,
        instances=tuple(data.draw(st.permutations(gpu.instances))),
        holders=gpu.holders,
        whole_holders=gpu.whole_holders,
        enabled=gpu.enabled,
        pending=gpu.pending,
    )
    again = None if wanted is None else tuple(data.draw(st.permutations(wanted)))

    first, second = plan_gpu(gpu, wanted), plan_gpu(shuffled, again)

    if isinstance(first, Impossible):
        assert first.nearest == second.nearest
    elif isinstance(first, Blocked):
        assert first.now == second.now
        assert {each.text for each in first.obstacles} == {each.text for each in second.obstacles}
    else:
        assert first == second


@cache
def possible(name):
    """Every state of a small board, from nothing."""
    return Rules(SMALL[name]).distances(frozenset())


@given(st.data())
@MODEST
def test_no_sequence_of_single_steps_is_shorter(data):
    name = data.draw(st.sampled_from(list(SMALL)))
    board = SMALL[name]
    gpu = data.draw(gpus(board, most=3).filter(lambda gpu: gpu.enabled))
    wanted = data.draw(layouts(board, most=3).filter(lambda wanted: wanted is not None))
    within_reach = Rules(board).distances(state_of(gpu))
    fewest = min((n for state, n in within_reach.items() if has(state, wanted)), default=None)

    outcome = check(gpu, wanted)

    if fewest is not None:
        assert isinstance(outcome, Plan)
        assert len(outcome.steps) == fewest + (not gpu.pending)
        alike = [s for s, n in within_reach.items() if n == fewest and has(s, wanted)]
        reached = Machine(gpu).run(outcome.steps).state()
        assert room_left(board, reached) == max(room_left(board, state) for state in alike)
    elif any(has(state, wanted) for state in possible(name)):
        assert isinstance(outcome, Blocked)
        check_blocked(gpu, wanted, outcome, within_reach)
    else:
        assert isinstance(outcome, Impossible)
        assert value(board, outcome.nearest) >= max(
            value(board, part)
            for part in parts(wanted)
            if any(has(s, part) for s in possible(name))
        )


def check_blocked(gpu, wanted, outcome, within_reach):
    """The obstacles are the fewest, and the part that can be had now is the largest."""
    keys = {(each.instance.id, each.compute.id) for each in outcome.obstacles}
    assert isinstance(plan_gpu(freed(gpu, keys), wanted), Plan)
    for fewer in combinations(sorted(gpu.holders), len(keys) - 1):
        assert isinstance(plan_gpu(freed(gpu, fewer), wanted), Blocked)
    held = {
        each.placement.start: WantedInstance(
            profile=each.profile,
            start=each.placement.start,
            compute=tuple(c.profile for c in each.compute),
        )
        for each in gpu.instances
        if any((each.id, c.id) in gpu.holders for c in each.compute)
    }
    rests = [rest for n in range(len(held) + 1) for rest in combinations(held.values(), n)]
    states = list(within_reach)
    best = max(
        value(gpu.profiles, part)
        for part in parts(wanted)
        if any(has(state, [*part, *rest]) for rest in rests for state in states)
    )
    reached = Machine(gpu).run(outcome.now.steps).state()
    assert any(
        has(reached, [*part, *rest])
        for part in parts(wanted)
        if value(gpu.profiles, part) == best
        for rest in rests
    )


def room_left(board, state):
    """How many more of each profile fit, the largest first, by trying every set of places."""
    rules, there = Rules(board), [(profile, start) for profile, start, _ in state]

    def most(kind):
        places = [(kind.id, place.start) for place in kind.placements]
        sizes = range(len(places), -1, -1)
        sets = (more for n in sizes for more in combinations(places, n))
        return len(next(more for more in sets if rules.gpu_fits([*there, *more])))

    def size(kind):
        return -kind.placements[0].size, -kind.slices, -kind.memory_mib, -kind.most, kind.id

    by_size = sorted(board, key=size)
    return [most(kind) for kind in by_size]


@given(st.data())
@MODEST
def test_room_is_what_trying_every_set_of_places_finds(data):
    board = data.draw(st.sampled_from([A100, A30, RTX_PRO_6000]))
    gpu = data.draw(gpus(board).filter(lambda gpu: gpu.enabled))

    found = room(board, gpu.instances)

    assert list(found.more.values()) == room_left(board, state_of(gpu))


def parts(wanted):
    return [part for n in range(len(wanted) + 1) for part in combinations(wanted, n)]


def value(board, part):
    slices = {each.id: each.slices for each in board}
    return sum(slices[each.profile] for each in part), len(part)
