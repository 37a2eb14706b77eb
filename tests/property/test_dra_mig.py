"""The counters of a GPU admit exactly the instances that lie beside each other on the hardware."""

from collections import Counter

from builders import gpu, inventory
from hypothesis import given, settings
from hypothesis import strategies as st
from mig_boards import BOARDS as ALL_BOARDS
from mig_rules import Rules

from agent.model.mig import GpuInstance
from agent.planning.dra_mig import OnDemand, counter_set, new_instances

GPU = gpu(0, uuid="GPU-01234567-89ab-cdef-0123-456789abcdef")
MOST_COUNTERS = 32
BOARDS = {name: profiles for name, (_, _, profiles) in ALL_BOARDS.items() if profiles}


def offered(board, foreign=()):
    on_demand = OnDemand(profiles=board, live_mode=True)
    devices = list(new_instances(GPU, on_demand, inventory(GPU), foreign))
    return devices, counter_set(GPU, on_demand, foreign)


def admitted(devices, counters):
    """Whether a scheduler gives all of them at once."""
    taken = Counter()
    for device in devices:
        for of_set in device.consumes.values():
            taken.update(of_set)
    return all(n <= counters.counters.get(name, 0) for name, n in taken.items())


def pair(device):
    return device.subject.profile, device.subject.placement.start


@given(st.sampled_from(sorted(BOARDS)), st.data())
@settings(max_examples=400)
def test_what_the_counters_admit_is_what_the_hardware_does(name, data):
    board = BOARDS[name]
    devices, counters = offered(board)

    chosen = data.draw(st.lists(st.sampled_from(devices), unique_by=id, max_size=8))

    assert admitted(chosen, counters) == Rules(board).gpu_fits([pair(each) for each in chosen])


@given(st.sampled_from(sorted(BOARDS)), st.data())
@settings(max_examples=200)
def test_beside_what_others_made_is_offered_what_still_fits(name, data):
    board = BOARDS[name]
    rules = Rules(board)
    everything, _ = offered(board)
    foreign = []
    for each in data.draw(st.lists(st.sampled_from(everything), unique_by=id, max_size=3)):
        pairs = [*((f.profile, f.placement.start) for f in foreign), pair(each)]
        if rules.gpu_fits(pairs):
            at = each.subject.placement
            foreign.append(
                GpuInstance(id=len(foreign), profile=pairs[-1][0], placement=at, compute=())
            )
    theirs = [(each.profile, each.placement.start) for each in foreign]

    devices, counters = offered(board, foreign)

    fitting = {pair(each) for each in everything if rules.gpu_fits([*theirs, pair(each)])}
    assert {pair(each) for each in devices} == fitting
    if devices:
        chosen = data.draw(st.lists(st.sampled_from(devices), unique_by=id, max_size=6))
        fits = rules.gpu_fits([*theirs, *(pair(each) for each in chosen)])
        assert admitted(chosen, counters) == fits


def test_every_board_stays_within_the_limits_of_the_api():
    for board in BOARDS.values():
        devices, counters = offered(board)

        assert devices
        assert len({each.name for each in devices}) == len(devices)
        assert all(len(each.name) <= 63 for each in devices)
        assert len(counters.counters) <= MOST_COUNTERS
        assert all(len(each.attributes) + len(each.capacity) <= 32 for each in devices)
        assert all(each.consumes.keys() == {counters.name} for each in devices)
