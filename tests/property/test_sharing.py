"""Whatever is asked to be shared: no id twice, as many Replicas as asked for, none lost."""

from collections import Counter

from builders import gpu, inventory
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import Flags
from agent.config.sharing import ReplicatedResource, SharedResources, Sharing
from agent.ledger.ledger import Allocation, Ledger
from agent.planning.catalog import build_catalog
from agent.planning.health import Health

GPUS = 4
GPU = "nvidia.com/gpu"


@st.composite
def entries(draw):
    devices = draw(
        st.one_of(
            st.just("all"),
            st.integers(1, GPUS + 1),
            st.lists(st.integers(0, GPUS), min_size=1, max_size=GPUS, unique=True).map(tuple),
        )
    )
    rename = draw(st.sampled_from([None, "turns", "nvidia.com/other"]))
    return ReplicatedResource(
        name="gpu", replicas=draw(st.integers(2, 5)), devices=devices, rename=rename
    )


def sharings():
    return st.lists(entries(), min_size=1, max_size=3).map(
        lambda found: Sharing(time_slicing=SharedResources(resources=tuple(found)))
    )


def catalog(sharing, ledger=None):
    node = inventory(*(gpu(i) for i in range(GPUS)))
    return build_catalog(node, Health(), flags=Flags(), sharing=sharing, ledger=ledger or Ledger())


def ids(found):
    return [each.id for devices in found.resources.values() for each in devices]


@given(sharings())
def test_every_gpu_is_offered_whole_or_in_as_many_shares_as_asked_for(sharing):
    found = catalog(sharing)

    assert max(Counter(ids(found)).values()) == 1
    wanted = {entry.replicas for entry in sharing.time_slicing.resources}
    for i in range(GPUS):
        uuid = gpu(i).uuid
        mine = [id_ for id_ in ids(found) if id_.partition("::")[0] == uuid]
        numbers = sorted(int(id_.partition("::")[2]) for id_ in mine if "::" in id_)
        assert mine == [uuid] or (
            numbers == list(range(len(mine))) and len(mine) in wanted and uuid not in mine
        )


@given(sharings(), sharings(), st.data())
def test_what_a_pod_holds_keeps_its_id_and_nothing_of_it_is_given_away_again(before, after, data):
    offered = [
        (resource, each.id)
        for resource, devices in catalog(before).resources.items()
        for each in devices
    ]
    held = data.draw(st.lists(st.sampled_from(offered), max_size=3, unique=True))
    ledger = Ledger(
        confirmed=tuple(
            Allocation(resource=resource, device=id_, holder=f"default/p{i}")
            for i, (resource, id_) in enumerate(held)
        )
    )

    found = catalog(after, ledger)

    listed = {(r, each.id): each for r, devices in found.resources.items() for each in devices}
    for resource, id_ in held:
        assert (resource, id_) in listed
        whole = id_.partition("::")[0]
        for (other, other_id), device in listed.items():
            same = other_id == id_ and other != resource
            around = other_id != id_ and (whole == other_id or (id_ == whole == device.gpu))
            if same or around:
                assert not device.healthy
