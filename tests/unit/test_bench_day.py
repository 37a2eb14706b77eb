"""What `python -m bench day` counts, on cases small enough to count by hand."""

from itertools import combinations

import pytest
from builders import gpu, inventory

from agent.model.inventory import Distance, PairDistance
from bench.day_contenders import CONTENDERS, divisions
from bench.day_jobs import Job, Start, starts
from bench.day_marks import Judge, mean

PAIRS = ({0, 1}, {2, 3})


def near(a, b):
    return {a, b} in PAIRS


def distance(a, b):
    return Distance.PIX if near(a, b) else Distance.SYS


@pytest.fixture
def judge():
    """Four GPUs, two on each of two NUMA nodes, near in pairs; the last of unknown socket."""
    gbps = [[24 if near(a, b) else 8 for b in range(4)] for a in range(4)]
    return Judge(gbps, [1, 1, 2, 2], [1, 1, 1, 0])


def test_a_job_that_does_not_fit_holds_up_those_behind_it():
    waiting = [Job(3, 0.0, 10.0), Job(2, 1.0, 5.0), Job(1, 2.0, 5.0), Job(4, 30.0, 1.0)]

    assert starts(waiting, gpus=4) == [
        Start(0, 3, (), waited=False),
        Start(1, 2, (0,), waited=True),
        Start(2, 1, (), waited=True),
        Start(3, 4, (1, 2), waited=False),
    ]


def test_a_set_across_nodes_is_marked_down_where_a_near_pair_was_free(judge):
    assert judge.marks(frozenset({0, 2, 3}), {0, 2}) == {
        "best_of_node": False,
        "best_of_free": False,
        "pair_ratio": 8 / 24,
        "pair_ratio_of_free": 8 / 24,
        "needless_crossings": True,
        "needless_sockets": False,
        "fits_2": None,
        "fits_4": None,
    }


def test_a_set_across_nodes_is_no_fault_where_nothing_else_was_free(judge):
    marks = judge.marks(frozenset({0, 2}), {0, 2})

    assert (marks["best_of_node"], marks["best_of_free"]) == (False, True)
    assert marks["needless_crossings"] is False


def test_a_gpu_of_unknown_socket_spans_one_of_its_own(judge):
    assert judge.marks(frozenset(range(4)), {2, 3})["needless_sockets"] is True
    assert judge.marks(frozenset(range(4)), {0, 1})["needless_sockets"] is False


def test_a_single_gpu_is_judged_by_what_it_leaves(judge):
    everything = frozenset(range(4))

    assert judge.marks(everything, {0})["fits_2"] is True
    assert judge.marks(everything - {1}, {0})["fits_2"] is True
    assert judge.marks(everything - {1}, {3})["fits_2"] is False


def test_a_ring_is_judged_by_its_slowest_hop():
    # A square: the ring goes round it, the slowest pair is the diagonal.
    gbps = [[8 if abs(a - b) == 2 else 50 for b in range(4)] for a in range(4)]

    assert Judge(gbps, [1] * 4, [1] * 4).bandwidth((0, 1, 2, 3)) == (50, 8)


def test_a_mean_is_over_what_was_counted():
    found = mean([{"fits_2": True}, {"fits_2": False}, {"fits_2": None}, {}])

    assert (found["fits_2"], found["best_of_node"]) == (0.5, None)


@pytest.mark.parametrize(
    ("devices", "size", "count"), [(8, 2, 105), (8, 3, 280), (8, 4, 35), (8, 5, 56), (4, 4, 1)]
)
def test_every_division_is_tried(devices, size, count):
    found = [frozenset(map(frozenset, each)) for each in divisions(range(devices), size)]

    assert len(set(found)) == len(found) == count


def test_contenders_choose_as_they_say():
    gpus = [gpu(i, numa_node=i // 2) for i in range(4)]
    pairs = tuple(
        PairDistance(a=a.uuid, b=b.uuid, distance=distance(a.index, b.index))
        for a, b in combinations(gpus, 2)
    )
    machine = inventory(*gpus, pairs=pairs)
    # 1 has lost its neighbour: who thinks ahead takes it alone, who does not the first offered.
    singles = {name: make(machine)([3, 1, 2], 1) for name, make in CONTENDERS.items()}
    pairs = {name: set(make(machine)([1, 3, 2], 2)) for name, make in CONTENDERS.items()}

    assert singles == {
        "plumbline": [1],
        "pairwise_score": [3],
        "greedy_nearest": [3],
        "random": [3],
    }
    assert pairs == {
        "plumbline": {2, 3},
        "pairwise_score": {2, 3},
        "greedy_nearest": {1, 3},
        "random": {1, 3},
    }
