"""Whatever a node has, its slices obey the API's limits, and a change is the least there is."""

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planning.dra_devices import DraDevice, Offering, Version, WholeGpus, device_name
from agent.planning.slices import Pool, plan_slices, slice_changes

POOL = Pool(driver="gpu.nvidia.com", node="node-1.example", node_uid="u")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


@st.composite
def pools(draw):
    count = draw(st.integers(0, 12) | st.sampled_from([63, 64, 65, 127, 128, 129, 257]))
    tainted = draw(st.sets(st.integers(0, max(0, count - 1)), max_size=3))
    return tuple(
        DraDevice(
            name=f"gpu-{i}",
            subject=WholeGpus(gpus=(f"GPU-{i}",)),
            attributes={"type": "gpu", "gpuIndex": i, "driverVersion": Version("580.65.6")},
            capacity={"memory": draw(st.integers(1, 2**38)) if i < 3 else 85520809984},
            taints={"gpu.nvidia.com/unhealthy": "xid-79"} if i in tainted else {},
        )
        for i in range(count)
    )


def published(changes, there=()):
    """What an API server has after these changes: it fills in defaults, and keeps versions."""
    gone = {each["metadata"]["name"] for each in (*changes.delete, *changes.update)}
    kept = [each for each in there if each["metadata"]["name"] not in gone]
    fresh = []
    for each in (*changes.update, *changes.create):
        spec = {**each["spec"], "devices": [_stored(d) for d in each["spec"]["devices"]]}
        version = {"resourceVersion": str(random.random()), "uid": "x"}
        fresh.append({**each, "spec": spec, "metadata": {**each["metadata"], **version}})
    return [*kept, *fresh]


def _stored(device):
    taints = [{**taint, "timeAdded": "2026-01-01T00:00:00Z"} for taint in device.get("taints", ())]
    return {**device, **({"taints": taints} if taints else {})}


@given(pools())
def test_a_pool_is_complete_and_no_slice_too_large(devices):
    slices = plan_slices(Offering(devices=devices), POOL, "NoSchedule")

    assert slices
    names = [each["name"] for one in slices for each in one["spec"]["devices"]]
    assert names == [each.name for each in devices]
    most = 64 if any(each.taints for each in devices) else 128
    for one in slices:
        assert one["spec"]["pool"]["resourceSliceCount"] == len(slices)
        assert len(one["spec"]["devices"]) <= most
        for device in one["spec"]["devices"]:
            assert len(device["attributes"]) + len(device["capacity"]) <= 32
            assert re.fullmatch(r"[1-9][0-9]*(Ki|Mi|Gi)?", device["capacity"]["memory"]["value"])
    assert len({one["metadata"]["name"] for one in slices}) == len(slices)


@settings(max_examples=40, deadline=None)
@given(pools(), pools())
def test_what_is_published_is_left_alone_and_what_changes_gets_one_new_generation(before, after):
    first = published(slice_changes(plan_slices(Offering(devices=before), POOL, "NoSchedule"), ()))
    assert not slice_changes(
        plan_slices(Offering(devices=before), POOL, "NoSchedule"), reversed(first)
    )

    changes = slice_changes(plan_slices(Offering(devices=after), POOL, "NoSchedule"), first)
    now = published(changes, first)
    generations = {one["spec"]["pool"]["generation"] for one in now}
    assert len(generations) == 1
    assert bool(changes) == (generations != {1})
    assert not slice_changes(plan_slices(Offering(devices=after), POOL, "NoSchedule"), now)
    assert [d["name"] for one in sorted(now, key=_index) for d in one["spec"]["devices"]] == [
        each.name for each in after
    ]


def _index(one):
    return int(one["metadata"]["name"].rpartition("-")[2])


@given(st.uuids())
def test_a_device_is_named_by_its_uuid_as_a_dns_label(uuid):
    name = device_name(f"GPU-{str(uuid).upper()}")

    assert LABEL.match(name)
    assert name == f"gpu-{uuid}"
