"""Any matrix, consistent or not, comes back as it was captured."""

import contextlib
import itertools
from dataclasses import dataclass

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.model.errors import ConfigError
from agent.model.inventory import LinkPeer
from agent.simulation import capture, expand, parts, synthesise, tree
from tests.machines import matrix

WORDS = ("PIX", "PXB", "PHB", "NODE", "SYS")


@dataclass(frozen=True)
class Place:
    """Where a device of a consistent machine is; devices that share more are nearer."""

    node: int
    bridge: int
    port: int
    switch: int


def word(a, b):
    """Return the class of two devices of a consistent machine."""
    one, other = ((p.node, p.bridge, p.port, p.switch) for p in (a, b))
    shared = next(depth for depth in (4, 3, 2, 1, 0) if one[:depth] == other[:depth])
    return WORDS[4 - shared]


def topo(gpus, nics, cells, nodes):
    """Return what nvidia-smi would print."""
    names = [f"GPU{n}" for n in range(gpus)] + [f"NIC{n}" for n in range(nics)]
    lines = ["\t" + "\t".join([*names, "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"])]
    for row in names:
        words = [" X " if row == name else cells[frozenset((row, name))] for name in names]
        tail = ["", "", "", ""]
        if row.startswith("GPU"):
            node = nodes[int(row[3:])]
            tail = [f"{4 * node}-{4 * node + 3}", str(node), "", "N/A"]
        lines.append("\t".join([row, *words, *tail]))
    return "\n".join(lines)


def classes(profile, names):
    """Return the words a machine shows for its pairs, from its tree and what overrides it."""
    spec = expand.expand(profile)
    placed = tree.by_name(spec)
    overrides = {frozenset((o.a, o.b)): o.distance for o in spec.overrides}
    shown = {}
    for a, b in itertools.combinations(names, 2):
        pair = frozenset((a, b))
        one, other = (placed[n.replace("NIC", "mlx5_")] for n in (a, b))
        ancestor = None
        if a.startswith("GPU") and b.startswith("GPU"):
            ancestor = spec.ancestors.get((int(a[3:]), int(b[3:])))
        stated = ancestor or overrides.get(frozenset((one.device.address, other.device.address)))
        shown[pair] = str(stated or tree.distance(spec, one, other))
        if links := links_between(spec, a, b):
            shown[pair] = f"NV{links}"
    return shown


def links_between(spec, a, b):
    if not (a.startswith("GPU") and b.startswith("GPU")):
        return 0
    one, other = spec.gpus[int(a[3:])], spec.gpus[int(b[3:])]
    direct = sum(
        link.up and link.gpu == one.index and link.peer_address == other.address
        for link in spec.links
    )
    return direct or min(
        sum(
            link.up and link.gpu == gpu.index and link.peer is LinkPeer.SWITCH
            for link in spec.links
        )
        for gpu in (one, other)
    )


def imported(text):
    return synthesise.synthesise(capture.parse(text, where="topo"), name="topo", source=text)


def names_of(gpus, nics):
    return [f"GPU{n}" for n in range(gpus)] + [f"NIC{n}" for n in range(nics)]


places = st.builds(
    Place,
    node=st.integers(0, 3),
    bridge=st.integers(0, 2),
    port=st.integers(0, 2),
    switch=st.integers(0, 1),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(places, min_size=1, max_size=16), st.lists(places, max_size=20))
def test_a_consistent_machine_comes_back(gpu_places, nic_places):
    everything = gpu_places + nic_places
    names = names_of(len(gpu_places), len(nic_places))
    cells = {
        frozenset((names[i], names[j])): word(everything[i], everything[j])
        for i, j in itertools.combinations(range(len(names)), 2)
    }

    found = imported(
        topo(len(gpu_places), len(nic_places), cells, [place.node for place in gpu_places])
    )

    assert classes(found.profile, names) == cells
    if {place.node for place in nic_places} <= {place.node for place in gpu_places}:
        assert found.profile.distances == ()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(0, 20), st.data())
def test_a_machine_that_contradicts_itself_comes_back(gpus, nics, data):
    names = names_of(gpus, nics)
    pairs = [frozenset(pair) for pair in itertools.combinations(names, 2)]
    drawn = data.draw(st.lists(st.sampled_from(WORDS), min_size=len(pairs), max_size=len(pairs)))
    cells = dict(zip(pairs, drawn, strict=True))
    nodes = data.draw(st.lists(st.integers(0, 3), min_size=gpus, max_size=gpus))

    found = imported(topo(gpus, nics, cells, nodes))

    assert classes(found.profile, names) == cells


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 16), st.sampled_from((4, 6, 12, 18)), st.data())
def test_nvlinks_through_switches_come_back(gpus, links, data):
    up = data.draw(st.lists(st.integers(0, links), min_size=gpus, max_size=gpus))
    cells = {
        frozenset((f"GPU{a}", f"GPU{b}")): f"NV{n}" if (n := min(up[a], up[b])) else "SYS"
        for a, b in itertools.combinations(range(gpus), 2)
    }

    found = imported(topo(gpus, 0, cells, [0] * gpus))

    assert classes(found.profile, names_of(gpus, 0)) == cells


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 8), st.data())
def test_nvlinks_between_gpus_come_back(gpus, data):
    cells = {
        frozenset((f"GPU{a}", f"GPU{b}")): f"NV{n}"
        if (n := data.draw(st.integers(0, 3)))
        else "PHB"
        for a, b in itertools.combinations(range(gpus), 2)
    }
    total = [
        sum(int(cells[p][2:]) for p in cells if f"GPU{g}" in p and cells[p][0] == "N")
        for g in range(gpus)
    ]
    assume(max(total) <= max(m.nvlinks.count for m in parts.shipped().gpus.values() if m.nvlinks))

    found = imported(topo(gpus, 0, cells, [0] * gpus))

    assert classes(found.profile, names_of(gpus, 0)) == cells


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(matrix.CAPTURES), st.data())
def test_no_damage_is_more_than_a_refusal(name, data):
    text = matrix.text(name)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + data.draw(st.text(max_size=8)) + text[end:]

    with contextlib.suppress(ConfigError):
        expand.expand(imported(text).profile)
