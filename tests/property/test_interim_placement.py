"""The tabled choice equals a search through every set, on any small node."""

from itertools import combinations

from builders import gpu, inventory
from hypothesis import given
from hypothesis import strategies as st

from agent.model.inventory import Distance, PairDistance
from agent.planning.placement import NEARNESS, PlacementTable, Request


@st.composite
def nodes(draw):
    count = draw(st.integers(2, 7))
    gpus = [gpu(i, numa_node=draw(st.sampled_from([0, 1, 2, None]))) for i in range(count)]
    distances = st.sampled_from(list(Distance))
    pairs = [
        PairDistance(a=a.uuid, b=b.uuid, distance=draw(distances)) for a, b in combinations(gpus, 2)
    ]
    return inventory(*gpus, pairs=tuple(pairs))


@st.composite
def requests(draw):
    node = draw(nodes())
    uuids = [g.uuid for g in node.gpus]
    available = draw(st.lists(st.sampled_from(uuids), min_size=1, unique=True))
    must = draw(st.lists(st.sampled_from(available), unique=True, max_size=len(available)))
    size = draw(st.integers(max(1, len(must)), len(available)))
    return node, Request(available=tuple(available), must_include=tuple(must), size=size)


def value(node, a, b):
    same = a.numa_node is not None and a.numa_node == b.numa_node
    return 2 * NEARNESS[node.distance(a.uuid, b.uuid)] + same


def worth(node, chosen, available):
    """The objective, written down without any table."""
    gpus = [g for g in node.gpus if g.uuid in chosen]
    left = [g for g in node.gpus if g.uuid in available and g.uuid not in chosen]
    values = [value(node, a, b) for a, b in combinations(gpus, 2)]
    left_values = [value(node, a, b) for a, b in combinations(left, 2)]
    return (
        -len({g.numa_node for g in gpus}),
        min(values, default=0),
        sum(values),
        sum(left_values),
    )


@given(requests())
def test_no_set_is_better(case):
    node, request = case
    chosen = PlacementTable(node, node.gpus).choose(request).devices

    assert len(chosen) == request.size
    assert set(request.must_include) <= set(chosen) <= set(request.available)
    best = max(
        worth(node, subset, request.available)
        for subset in combinations(request.available, request.size)
        if set(request.must_include) <= set(subset)
    )
    assert worth(node, chosen, request.available) == best
