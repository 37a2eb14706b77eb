"""Layouts: what is exported reads back as itself, and what fits is what brute force finds."""

from collections import Counter
from itertools import product

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mig_boards import BOARDS, gpu, node

from agent.config.mig_parted import parse_layouts
from agent.model.mig import ComputeInstance, GpuInstance, WantedInstance
from agent.planning.layout import resolve_layout
from agent.planning.layout_export import GpuState, export_layout
from agent.planning.layout_generation import generate_layouts, layout_document
from agent.planning.layout_model import Divided, Mode
from agent.planning.mig_packing import fits, holds, most_that_fit, pack, place

MIG_BOARDS = [name for name, (_, _, profiles) in BOARDS.items() if profiles]
boards = st.sampled_from(MIG_BOARDS)


def by_id(board):
    return {profile.id: profile for profile in BOARDS[board][2]}


@st.composite
def wanted_instances(draw, board, at_most=9):
    """Whole GPU instances of a board, some with a start; they may or may not fit."""
    profiles = BOARDS[board][2]
    instances = []
    for profile in draw(st.lists(st.sampled_from(profiles), max_size=at_most)):
        starts = [placement.start for placement in profile.placements]
        start = draw(st.none() | st.sampled_from(starts))
        instances.append(
            WantedInstance(profile=profile.id, compute=(profile.whole.id,), start=start)
        )
    return instances


@st.composite
def divisions(draw, board):
    """Instances that an empty GPU of a board holds, with the placements they have there."""
    profiles = by_id(board)
    free = [
        WantedInstance(profile=profile.id, compute=())
        for profile in draw(st.lists(st.sampled_from(list(profiles.values())), max_size=6))
    ]
    kept = most_that_fit(free, profiles)
    counts = {}
    for each in kept:
        profile = profiles[each.profile]
        sizes = draw(st.lists(st.sampled_from(profile.compute), max_size=3))
        counts.setdefault(each.profile, []).append(sizes or [profile.whole])
    bins = [
        inside
        for each, sizes in counts.items()
        # Only what packs as it lies can be said by counts: others are noted, not tested here.
        for inside in pack(profiles[each], [c for some in sizes for c in some])[: len(sizes)]
    ]
    placements = place(bins, profiles)
    return tuple(
        GpuInstance(
            id=i,
            profile=each.profile,
            placement=placement,
            compute=tuple(
                ComputeInstance(id=j, profile=c, uuid=None) for j, c in enumerate(each.compute)
            ),
        )
        for i, (each, placement) in enumerate(zip(bins, placements, strict=True))
    )


@st.composite
def states(draw):
    """GPUs of a node, each in some state."""
    made = []
    for index, board in enumerate(draw(st.lists(boards | st.just("T4"), min_size=1, max_size=5))):
        enabled = board != "T4" and draw(st.booleans())
        instances = draw(divisions(board)) if enabled else ()
        made.append(GpuState(gpu=gpu(board, index), enabled=enabled, instances=instances))
    return made


def reads(entries):
    return parse_layouts(yaml.safe_dump(layout_document({"now": entries})), "now.yaml")["now"]


@settings(max_examples=150, deadline=None)
@given(states())
def test_an_export_is_read_and_resolved_to_the_state_it_was_made_of(states):
    exported = export_layout(states)
    assert exported.notes == ()
    if not exported.entries:
        assert not any(state.gpu.capable for state in states)
        return

    resolution = resolve_layout(reads(exported.entries), [state.gpu for state in states])

    assert resolution.problems == ()
    for state in states:
        wanted = resolution.wanted[state.gpu.uuid]
        if not state.gpu.capable:
            assert wanted is Mode.KEEP
        elif not state.enabled:
            assert wanted is Mode.OFF
        else:
            assert Counter((each.profile, each.compute) for each in wanted.instances) == Counter(
                (each.profile, tuple(c.profile for c in each.compute)) for each in state.instances
            )


@settings(max_examples=60, deadline=None)
@given(st.lists(boards, min_size=1, max_size=4))
def test_every_generated_layout_is_one_that_the_node_can_have(names):
    gpus = node(*names)
    document = layout_document(generate_layouts(gpus))

    for layout in parse_layouts(yaml.safe_dump(document), "made.yaml").values():
        resolution = resolve_layout(layout, gpus)
        assert resolution.problems == ()
        assert any(wanted is not Mode.KEEP for wanted in resolution.wanted.values())
        full = [each for each in resolution.wanted.values() if isinstance(each, Divided)]
        assert layout.name in {"all-disabled", "all-enabled"} or all(x.instances for x in full)


def brute_force(instances, profiles):
    """Whether instances fit, by trying every placement of each."""
    counts = Counter(each.profile for each in instances)
    if any(count > profiles[each].most for each, count in counts.items()):
        return False
    choices = [
        [p for p in profiles[each.profile].placements if each.start in {None, p.start}]
        for each in instances
    ]
    return any(
        not any(a.overlaps(b) for i, a in enumerate(chosen) for b in chosen[:i])
        for chosen in product(*choices)
    )


@settings(max_examples=150, deadline=None)
@given(boards.flatmap(lambda b: st.tuples(st.just(b), wanted_instances(b, at_most=5))))
def test_what_fits_is_what_brute_force_finds(case):
    board, instances = case
    profiles = by_id(board)

    assert fits(instances, profiles) == brute_force(instances, profiles)


@settings(max_examples=100, deadline=None)
@given(boards.flatmap(lambda b: st.tuples(st.just(b), wanted_instances(b))))
def test_what_is_dropped_is_the_least_that_makes_the_rest_fit(case):
    board, instances = case
    profiles = by_id(board)

    left = most_that_fit(instances, profiles)

    assert fits(left, profiles)
    assert not Counter(left) - Counter(instances)
    for each in Counter(instances) - Counter(left):
        assert not fits([*left, each], profiles)
    assert (len(left) == len(instances)) == fits(instances, profiles)


def fewest(profile, compute, bins):
    """How few GPU instances hold compute instances, by trying every way to put them together."""
    if not compute:
        return len(bins)
    first, rest = compute[0], compute[1:]
    return min(
        fewest(profile, rest, [*bins[:i], [*inside, first], *bins[i + 1 :]])
        for i, inside in enumerate([*bins, []])
        if holds(profile, [*inside, first])
    )


@settings(max_examples=100, deadline=None)
@given(boards.flatmap(lambda b: st.tuples(st.just(b), st.data())))
def test_compute_instances_are_packed_whole_and_into_the_fewest(case):
    board, data = case
    profile = data.draw(st.sampled_from(BOARDS[board][2]))
    compute = data.draw(st.lists(st.sampled_from(profile.compute), max_size=6))

    packed = pack(profile, compute)

    sizes = {each.id: each.slices for each in profile.compute}
    assert Counter(c for each in packed for c in each.compute) == Counter(c.id for c in compute)
    assert all(sum(sizes[c] for c in each.compute) <= profile.slices for each in packed)
    # Of 7 slices a GPU holds one instance: more is refused, however many they would be.
    least = fewest(profile, compute, [])
    assert (len(packed) <= 1) == (least <= 1)
    assert profile.slices == 7 or len(packed) == least
