"""A pool of whole GPUs, cells and instances: counters admit what can be had at once, no more."""

from collections import Counter, defaultdict

from builders import gpu, inventory, numa, pairs_by_node
from hypothesis import given, settings
from hypothesis import strategies as st
from mig_boards import H100
from mig_rules import Rules

from agent.config.own import Cell, ClaimedMig, Dra, Plumbline, ServingMode
from agent.config.schema import Config
from agent.ledger.ledger import Ledger
from agent.model.inventory import MigMode
from agent.planning.dra_devices import NewInstance
from agent.planning.dra_mig import OnDemand
from agent.planning.health import Health
from agent.planning.pool import GpuPool, gpus_of
from agent.planning.snapshot import build_snapshot

RULES = Rules(H100)


def pool(count, *, dynamic, cells=tuple(Cell)):
    gpus = [
        gpu(i, numa_node=2 * i // count, mig=MigMode(current=False, pending=False))
        for i in range(count)
    ]
    found = inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0), numa(1)))
    mig = ClaimedMig.DYNAMIC if dynamic else ClaimedMig.EXISTING
    config = Config(plumbline=Plumbline(mode=ServingMode.DRA, dra=Dra(mig=mig, cells=cells)))
    snapshot = build_snapshot(config, found, Health(), previous=None)
    on_demand = {each.uuid: OnDemand(profiles=H100, live_mode=True) for each in gpus}
    return GpuPool(snapshot=snapshot, ledger=Ledger(), on_demand=on_demand if dynamic else {})


POOLS = {
    (count, dynamic): pool(count, dynamic=dynamic).offering
    for count in (2, 5, 8)
    for dynamic in (False, True)
}


def admitted(devices, offering):
    """What a scheduler says that counts."""
    there = {each.name: each.counters for each in offering.counter_sets}
    taken = Counter(
        {
            (of_set, counter): n
            for of_set, counters in there.items()
            for counter, n in dict.fromkeys(counters, 0).items()
        }
    )
    for device in devices:
        for of_set, counters in device.consumes.items():
            for counter, n in counters.items():
                taken[of_set, counter] += n
    return all(n <= there[of_set].get(counter, 0) for (of_set, counter), n in taken.items())


def possible(devices):
    """What the hardware says."""
    whole, parts = Counter(), defaultdict(list)
    for device in devices:
        subject = device.subject
        if isinstance(subject, NewInstance):
            parts[subject.gpu].append((subject.profile, subject.placement.start))
        else:
            whole.update(gpus_of(subject))
    return (
        all(n == 1 for n in whole.values())
        and not whole.keys() & parts.keys()
        and all(RULES.gpu_fits(pairs) for pairs in parts.values())
    )


@given(st.sampled_from(sorted(POOLS)), st.data())
@settings(max_examples=400)
def test_devices_can_be_had_at_once_when_their_counters_suffice(which, data):
    offering = POOLS[which]
    kinds = defaultdict(list)
    for each in offering.devices:
        kinds[each.attributes["type"]].append(each)
    of_any_kind = st.sampled_from(sorted(kinds)).flatmap(lambda kind: st.sampled_from(kinds[kind]))

    chosen = data.draw(st.lists(of_any_kind, unique_by=id, max_size=5))

    assert admitted(chosen, offering) == possible(chosen)


def test_no_device_and_no_counter_set_is_more_than_the_api_takes():
    for offering in POOLS.values():
        names = [each.name for each in offering.devices]
        assert len(set(names)) == len(names)
        assert all(len(name) <= 63 for name in names)
        for each in offering.devices:
            assert len(each.consumes) <= 2
            assert len(each.attributes) + len(each.capacity) <= 32
        assert all(0 < len(each.counters) <= 32 for each in offering.counter_sets)


def test_cells_lie_within_each_other_and_are_the_best_there_are():
    offering = pool(8, dynamic=False).offering
    cells = {kind: [] for kind in ("pair", "quad", "octet")}
    for each in offering.devices:
        if each.attributes["type"] in cells:
            cells[each.attributes["type"]].append(set(each.subject.gpus))

    assert [len(each) for each in cells.values()] == [4, 2, 1]
    # A NUMA node has four of the GPUs.
    assert {f"GPU-{i}" for i in range(4)} in cells["quad"]
    assert all(any(pair <= quad for quad in cells["quad"]) for pair in cells["pair"])
    shared = [each for each in offering.devices if each.attributes["type"] == "quad"]
    assert {each.attributes.get("numaNode") for each in shared} == {0, 1}
    assert all(each.capacity["gpus"] == 4 for each in shared)
    (octet,) = (each for each in offering.devices if each.attributes["type"] == "octet")
    assert "numaNode" not in octet.attributes
    # The product is all that a GPU could say of each.
    assert octet.attributes["productName"] == "NVIDIA H100 80GB HBM3"
    assert "gpuIndex" not in octet.attributes
