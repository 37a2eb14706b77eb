"""Whatever a node has, its slices obey the API's limits, and a change is the least there is."""

import json
import re
from collections import Counter
from itertools import count

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.model.mig import MigPlacement
from agent.planning.api_abilities import (
    ApiAbilities,
    Feature,
    dropped_features,
    read_version,
    reduced,
)
from agent.planning.dra_devices import (
    CounterSet,
    DraDevice,
    NewInstance,
    Offering,
    RequestPolicy,
    Version,
    WholeGpus,
    device_name,
)
from agent.planning.dra_order import differs_in_order, kept_order
from agent.planning.slices import (
    Pool,
    Written,
    is_kept_otherwise,
    plan_slices,
    slice_changes,
)

POOL = Pool(driver="gpu.nvidia.com", node="node-1.example", node_uid="u")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
ABILITIES = st.builds(
    ApiAbilities,
    version=st.sampled_from([(1, 34), (1, 35), (1, 36)]),
    dropped=st.frozensets(st.sampled_from(Feature)),
)
ABLE = ApiAbilities()
TAINT = {"gpu.nvidia.com/unhealthy": "true"}
BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
DECIMAL = ("", "k", "M", "G", "T", "P", "E")


def whole(i, **more):
    return DraDevice(
        name=f"gpu-{i}",
        subject=WholeGpus(gpus=(f"GPU-{i}",)),
        attributes={"type": "gpu", "gpuIndex": i, "driverVersion": Version("580.65.6")},
        **{"capacity": {"memory": 85520809984 + i}, **more},
    )


def part(i, number):
    return DraDevice(
        name=f"gpu-{i}-mig-{number}",
        subject=NewInstance(
            gpu=f"GPU-{i}", profile=19, placement=MigPlacement(start=number, size=1)
        ),
        attributes={"type": "mig"},
        capacity={},
        consumes={f"gpu-{i}": {f"memory-slice-{number}": 1}},
    )


def pair(i):
    return DraDevice(
        name=f"pair-{i}",
        subject=WholeGpus(gpus=(f"GPU-{i}", f"GPU-{i + 1}")),
        attributes={"type": "pair"},
        capacity={"gpus": 2},
        consumes={"gpus": {f"gpu-{i}": 8, f"gpu-{i + 1}": 8}},
    )


QUANTITIES = st.integers(0, 2**63 - 1) | st.builds(
    lambda number, power, size: number * size**power % 2**63,
    st.integers(0, 2000),
    st.integers(0, 6),
    st.sampled_from([1000, 1024]),
)


@st.composite
def offerings(draw):
    """GPUs, some unwell; with shares, or with the parts of each and with pairs, or with neither."""
    kind = draw(st.sampled_from(["plain", "shares", "parts", "parts and pairs"]))
    most = 20 if "parts" in kind else 300
    number = draw(st.integers(0, 12) | st.sampled_from([16, 63, 64, 65, 127, 128, 129, 257]))
    number = min(number, most)
    has_pairs = "pairs" in kind and number > 1
    ill = draw(st.sets(st.integers(0, max(0, number - 1)), max_size=3))
    devices, sets = [], []
    for i in range(number):
        more = {"taints": TAINT} if i in ill else {}
        if kind == "shares":
            policy = RequestPolicy(default=2**20, least=2**20, most=2**40, step=2**20)
            shares = draw(QUANTITIES)
            more |= {
                "shared": True,
                "policies": {"memory": policy, "shares": RequestPolicy(default=1, least=1)},
                "capacity": {"memory": 2**40, "shares": shares},
            }
        if "parts" in kind:
            counters = {f"memory-slice-{n}": 1 for n in range(8)}
            sets.append(CounterSet(name=f"gpu-{i}", counters=counters))
            of_node = {"gpus": {f"gpu-{i}": 8}} if has_pairs else {}
            more |= {"consumes": {f"gpu-{i}": counters, **of_node}}
        devices.append(whole(i, **more))
    if "parts" in kind:
        devices += [part(i, n) for i in range(number) for n in range(8)]
    if has_pairs:
        devices += [pair(i) for i in range(0, number - 1, 2)]
        sets.append(CounterSet(name="gpus", counters={f"gpu-{i}": 8 for i in range(number)}))
    names = [each.name for each in devices]
    allocated = draw(st.frozensets(st.sampled_from(names), max_size=3)) if names else frozenset()
    return Offering(devices=tuple(devices), counter_sets=tuple(sets), allocated=allocated)


class Server:
    """An API server as far as slices go: it fills in defaults, and drops what its gates are for."""

    def __init__(self, abilities=ABLE):
        self.abilities = abilities
        self.alter = lambda kept: kept
        self.slices = {}
        self.version = count(1)

    def carry_out(self, changes):
        """Return what was sent, each with what is kept of it."""
        for each in changes.delete:
            del self.slices[each["metadata"]["name"]]
        written = []
        for each in (*changes.update, *changes.create):
            name = each["metadata"]["name"]
            assert (name in self.slices) == (each in changes.update)
            if name in self.slices:
                known = self.slices[name]["metadata"]["resourceVersion"]
                assert each["metadata"]["resourceVersion"] == known
            written.append((each, self._kept(each)))
            self.slices[name] = written[-1][1]
        return written

    def _kept(self, sent):
        kept = json.loads(json.dumps(sent))
        spec, dropped = kept["spec"], self.abilities.dropped
        for device in spec.get("devices", ()):
            if Feature.TAINTS in dropped:
                device.pop("taints", None)
            if Feature.COUNTERS in dropped:
                device.pop("consumesCounters", None)
            if Feature.SHARES in dropped:
                device.pop("allowMultipleAllocations", None)
                for capacity in device.get("capacity", {}).values():
                    capacity.pop("requestPolicy", None)
            for taint in device.get("taints", ()):
                taint.setdefault("timeAdded", "2026-01-01T00:00:00Z")
        if Feature.COUNTERS in dropped:
            spec.pop("sharedCounters", None)
        kept["metadata"] |= {"resourceVersion": str(next(self.version)), "uid": "x"}
        return self.alter(_canonical(kept))


def _canonical(document):
    """A document with its quantities as the API server writes them."""
    if isinstance(document, list):
        return [_canonical(each) for each in document]
    if not isinstance(document, dict):
        return document
    return {
        key: canonical_quantity(value)
        if (key == "value" and "key" not in document) or key in {"default", "min", "max", "step"}
        else _canonical(value)
        for key, value in document.items()
    }


def canonical_quantity(text):
    """What apimachinery's Quantity makes of a text: base of 1024 only where it was so given."""
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", text).groups()
    size, units = (1024, BINARY) if unit.endswith("i") else (1000, DECIMAL)
    value = int(number) * size ** units.index(unit)
    if value < 1024:
        size, units = 1000, DECIMAL
    power = max(i for i in range(len(units)) if value % size**i == 0) if value else 0
    return f"{value // size**power}{units[power]}"


def documents(offering, abilities=ABLE):
    return plan_slices(reduced(offering, abilities), POOL, "NoSchedule", abilities)


@given(QUANTITIES)
@example(1000)
@example(2**40)
@example(1000 * 1024)
def test_a_number_comes_back_as_it_was_sent(number):
    device = whole(0, capacity={"some": number})
    (one,) = documents(Offering(devices=(device,)))

    sent = one["spec"]["devices"][0]["capacity"]["some"]["value"]

    assert canonical_quantity(sent) == sent
    digits, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", sent).groups()
    size = 1024 ** BINARY.index(unit) if unit.endswith("i") else 1000 ** DECIMAL.index(unit)
    assert int(digits) * size == number


def listed(slices):
    return [each["name"] for one in slices for each in one["spec"].get("devices", ())]


@given(offerings(), ABILITIES)
@settings(max_examples=200)
def test_a_pool_is_complete_and_no_slice_is_more_than_the_api_takes(offering, abilities):
    slices = documents(offering, abilities)

    assert slices
    assert len({one["metadata"]["name"] for one in slices}) == len(slices)
    sets = Counter(s["name"] for one in slices for s in one["spec"].get("sharedCounters", ()))
    assert all(n == 1 for n in sets.values())
    for one in slices:
        assert one["spec"]["pool"]["resourceSliceCount"] == len(slices)
        devices = one["spec"].get("devices", ())
        own = [each["name"] for each in one["spec"].get("sharedCounters", ())]
        assert len(own) <= 8
        if abilities.counters_apart:
            assert ("devices" in one["spec"]) != ("sharedCounters" in one["spec"])
        heavy = any("taints" in each or "consumesCounters" in each for each in devices)
        assert len(devices) <= (64 if heavy else 128)
        for device in devices:
            assert LABEL.match(device["name"])
            assert len(device["attributes"]) + len(device.get("capacity", ())) <= 32
            consumed = [each["counterSet"] for each in device.get("consumesCounters", ())]
            assert len(consumed) <= 2
            assert set(consumed) <= set(sets if abilities.counters_apart else own)
            assert all(each["counters"] for each in device.get("consumesCounters", ()))
    names = listed(slices)
    assert len(set(names)) == len(names)
    # Whatever cannot be said of it, what a claim has is never dropped.
    assert offering.allocated <= set(names)
    if abilities == ABLE:
        assert names == [each.name for each in offering.devices]


@given(offerings(), ABILITIES)
@settings(max_examples=200)
def test_a_server_that_drops_fields_is_found_out_once_and_then_nothing_is_written(offering, real):
    server = Server(real)
    known = ApiAbilities(version=real.version)
    for _ in range(len(Feature) + 1):
        changes = slice_changes(documents(offering, known), server.slices.values())
        written = server.carry_out(changes)
        found = frozenset().union(*(dropped_features(*each) for each in written))
        assert found <= real.dropped
        if not found:
            break
        known = ApiAbilities(version=real.version, dropped=known.dropped | found)

    assert not slice_changes(documents(offering, known), reversed([*server.slices.values()]))


@given(offerings(), offerings())
@settings(max_examples=50)
def test_what_a_server_makes_of_a_slice_is_not_sent_again(offering, other):
    def renamed(kept):
        for device in kept["spec"].get("devices", ()):
            device["attributes"]["by"] = {"string": "a webhook"}
        return kept

    server = Server()
    server.alter = renamed
    written = {}

    def publish(wanted):
        changes = slice_changes(documents(wanted), server.slices.values(), written)
        for sent, kept in server.carry_out(changes):
            written[sent["metadata"]["name"]] = Written(sent=sent, kept=kept)
        return changes

    assert publish(offering)
    assert any(is_kept_otherwise(each) for each in written.values()) == bool(offering.devices)
    assert not publish(offering)
    # Something else of ours is sent, and what somebody else has made of it since is put right.
    assert bool(publish(other)) == (documents(other) != documents(offering))
    if other.devices:
        name = next(name for name, one in server.slices.items() if one["spec"].get("devices"))
        found = server.slices[name]
        server.slices[name] = {**found, "spec": {**found["spec"], "devices": []}}
        assert publish(other)


@given(st.integers(0, 200), st.sets(st.integers(0, 199), max_size=5))
def test_before_1_35_a_counter_set_has_as_many_devices_as_fit_beside_it(number, claimed):
    devices = tuple(part(0, n) for n in range(number))
    allocated = frozenset(f"gpu-0-mig-{n}" for n in claimed if n < number)
    counters = {f"memory-slice-{n}": 1 for n in range(32)}
    sets = (CounterSet(name="gpu-0", counters=counters),) if number else ()
    offering = Offering(devices=devices, counter_sets=sets, allocated=allocated)

    slices = documents(offering, ApiAbilities(version=(1, 34)))

    assert len(slices) == 1
    names = listed(slices)
    assert len(names) == min(number, 64)
    assert allocated <= set(names)
    assert names == [each.name for each in devices if each.name in names]
    free = [each.name for each in devices if each.name not in allocated]
    assert [name for name in names if name not in allocated] == free[: 64 - len(allocated)]


@given(offerings())
def test_without_counters_no_two_devices_are_parts_of_one_gpu(offering):
    kept = reduced(offering, ApiAbilities(dropped=frozenset({Feature.COUNTERS})))

    assert not kept.counter_sets
    taken = Counter()
    for each in kept.devices:
        assert not each.consumes
        subject = each.subject
        gpus = subject.gpus if isinstance(subject, WholeGpus) else (subject.gpu,)
        # What claims have already may be anything.
        if each.name not in offering.allocated:
            taken.update(gpus)
    assert all(n == 1 for n in taken.values())
    claimed = {
        gpu
        for each in offering.devices
        if each.name in offering.allocated and not each.name.removeprefix("gpu-").isdecimal()
        for gpu in (
            each.subject.gpus if isinstance(each.subject, WholeGpus) else (each.subject.gpu,)
        )
    }
    assert claimed.isdisjoint(taken)


@given(offerings(), offerings())
def test_what_is_published_is_left_alone_and_what_changes_is_the_least(before, after):
    server = Server()
    server.carry_out(slice_changes(documents(before), ()))
    first = dict(server.slices)
    assert not slice_changes(documents(before), reversed([*first.values()]))

    changes = slice_changes(documents(after), first.values())
    server.carry_out(changes)

    # One generation, and all of it; a lone change within a pool of the same slices keeps it.
    generations = {each["spec"]["pool"]["generation"] for each in server.slices.values()}
    assert len(generations) == 1
    alone = first.keys() == server.slices.keys() and len(changes.update) <= 1
    assert generations == ({1} if alone else {2})
    assert not slice_changes(documents(after), server.slices.values())


def test_a_taint_is_as_old_as_it_was_whatever_slice_it_comes_to_stand_in():
    server = Server()
    offering = Offering(devices=tuple(whole(i, taints=TAINT if i == 70 else {}) for i in range(71)))
    server.carry_out(slice_changes(documents(offering), ()))
    for one in server.slices.values():
        for device in one["spec"]["devices"]:
            for taint in device.get("taints", ()):
                taint["timeAdded"] = "2020-02-02T00:00:00Z"

    fewer = Offering(devices=offering.devices[10:])
    server.carry_out(slice_changes(documents(fewer), server.slices.values()))

    (taint,) = (
        taint
        for one in server.slices.values()
        for device in one["spec"]["devices"]
        for taint in device.get("taints", ())
    )
    assert taint["timeAdded"] == "2020-02-02T00:00:00Z"


@given(st.permutations(range(6)), st.permutations(range(6)), st.sets(st.integers(0, 5)))
def test_an_order_is_kept_where_what_is_free_comes_as_wanted(published, fresh, claimed):
    allocated = frozenset(f"gpu-{i}" for i in claimed)
    before = Offering(devices=tuple(whole(i) for i in published))
    wanted = Offering(devices=tuple(whole(i) for i in fresh), allocated=allocated)

    kept = kept_order(wanted, before)

    free = [each for each in fresh if each not in claimed]
    assert [i for i in map(index, kept.devices) if i not in claimed] == free
    if [i for i in published if i not in claimed] == free:
        assert kept.devices == before.devices
    assert differs_in_order(kept, before) == (kept.devices != before.devices)
    other = Offering(devices=(*wanted.devices[1:], whole(7)))
    assert kept_order(other, before) is other
    assert not differs_in_order(other, before)


def index(device):
    return device.attributes["gpuIndex"]


def test_slices_of_devices_sort_in_the_order_of_their_devices():
    offering = Offering(devices=tuple(whole(i) for i in range(1500)))

    names = [each["metadata"]["name"] for each in documents(offering)]

    assert len(names) > 10
    assert names == sorted(names)


def test_a_node_with_a_long_name_has_slices_too():
    long_names = [f"{'n' * 240}{i}" for i in range(2)]
    names = [
        plan_slices(
            Offering(devices=()), Pool(driver="gpu.nvidia.com", node=node, node_uid="u"), "x"
        )[0]["metadata"]["name"]
        for node in long_names
    ]

    assert all(len(name) <= 253 for name in names)
    assert names[0] != names[1]


def test_versions_are_read_as_servers_write_them():
    assert read_version({"major": "1", "minor": "36"}) == (1, 36)
    assert read_version({"major": "1", "minor": "35+"}) == (1, 35)
    assert read_version({}) == (1, 34)


@given(st.uuids())
def test_a_name_is_a_label_whatever_the_uuid(uuid):
    assert LABEL.match(device_name(f"GPU-{uuid}"))
    assert LABEL.match(device_name(f"MIG-{str(uuid).upper()}"))
