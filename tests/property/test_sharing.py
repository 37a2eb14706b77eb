"""Whatever is asked to be shared: no id twice, as many Replicas as asked for, none lost."""

from collections import Counter

from builders import gpu, inventory
from hypothesis import given
from hypothesis import strategies as st

from agent.config.gpu_names import GpuNames
from agent.config.schema import Config, Flags
from agent.config.sharing import Mps, MpsResource, Sharing, TimeSlicedResource, TimeSlicing
from agent.ledger.ledger import Allocation, Ledger
from agent.planning.catalog import build_catalog
from agent.planning.health import Health
from agent.planning.mps import limits
from agent.planning.preference import prefer
from agent.planning.snapshot import build_snapshot

GPUS = 4
GPU = "nvidia.com/gpu"


devices = st.one_of(
    st.just("all"),
    st.integers(1, GPUS + 1),
    st.lists(st.integers(0, GPUS), min_size=1, max_size=GPUS, unique=True).map(tuple),
    st.builds(
        GpuNames,
        index=st.none() | st.lists(st.integers(0, GPUS), min_size=1, unique=True).map(tuple),
        model=st.sampled_from([None, ("*H100*",), ("*L40S*",)]),
        module_id=st.none() | st.lists(st.integers(0, GPUS), min_size=1, unique=True).map(tuple),
    ),
)
entry = {
    "name": st.just("gpu"),
    "replicas": st.integers(2, 5),
    "devices": devices,
    "rename": st.sampled_from([None, "turns", "nvidia.com/other"]),
    "max_shared_per_pod": st.sampled_from([None, 1, 2]),
}


def few(entries):
    return st.lists(entries, min_size=1, max_size=3).map(tuple)


def sharings(*, by_mps=False):
    turns = st.builds(
        Sharing,
        time_slicing=st.builds(TimeSlicing, resources=few(st.builds(TimeSlicedResource, **entry))),
    )
    mps = st.builds(
        Sharing, mps=st.builds(Mps, resources=few(st.builds(weighed, st.data(), **entry)))
    )
    return mps if by_mps else turns | mps


def weighed(data, replicas, **values):
    weights = data.draw(
        st.none() | st.lists(st.integers(1, 9), min_size=replicas, max_size=replicas).map(tuple)
    )
    return MpsResource(replicas=replicas, weights=weights, **values)


def section(sharing):
    return sharing.section[1]


def snapshot(config):
    node = inventory(*(gpu(i, module_id=i) for i in range(GPUS)))
    return build_snapshot(config, node, Health(), previous=None)


def catalog(sharing, ledger=None):
    node = inventory(*(gpu(i, module_id=i) for i in range(GPUS)))
    return build_catalog(node, Health(), flags=Flags(), sharing=sharing, ledger=ledger or Ledger())


def ids(found):
    return [each.id for devices in found.resources.values() for each in devices]


@given(sharings())
def test_every_gpu_is_offered_whole_or_in_as_many_shares_as_asked_for(sharing):
    found = catalog(sharing)

    assert max(Counter(ids(found)).values()) == 1
    wanted = {entry.replicas for entry in section(sharing).resources}
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


@given(sharings(by_mps=True))
def test_each_gpu_shared_through_mps_has_one_daemon_and_is_never_promised_twice(sharing):
    found = catalog(sharing)

    served = Counter(uuid for each in found.mps_sets for uuid in each.gpus)
    assert served == Counter(list(found.shared.by_device))
    for uuid, share in found.shared.by_device.items():
        given = [limits(gpu(0), share.weights, n) for n in range(share.replicas)]
        assert sum(each.memory_mib for each in given) <= gpu(0).memory_bytes // 2**20
        assert sum(each.threads_percent for each in given) <= 100
        (mine,) = (each for each in found.mps_sets if uuid in each.gpus)
        assert mine.limits[mine.gpus.index(uuid)].memory_mib == max(
            each.memory_mib for each in given
        )
        if share.most == 1:
            assert mine.gpus == (uuid,)


@given(sharings())
def test_no_resource_mixes_what_goes_through_mps_with_what_does_not(sharing):
    found = catalog(sharing)

    shares = found.shared.by_device
    for devices in found.resources.values():
        ways = {each.gpu in shares and shares[each.gpu].by_mps for each in devices}
        assert len(ways) < 2 or any(each.path.endswith(".rename") for each in found.shared.unfit)


@given(
    st.integers(2, GPUS),
    st.integers(2, 6),
    st.lists(st.integers(0, 10**6), max_size=12),
)
def test_replicas_given_one_by_one_are_within_one_of_even_whatever_ends_meanwhile(
    gpus, replicas, ending
):
    entry_ = TimeSlicedResource(name="gpu", replicas=replicas, devices=gpus, rename="s")
    config = Config(sharing=Sharing(time_slicing=TimeSlicing(resources=(entry_,))))
    seen = snapshot(config)
    every = [each.id for each in seen.catalog.resources["nvidia.com/s"]]
    held = []
    for step in range(gpus * replicas):
        ledger = Ledger(
            confirmed=tuple(
                Allocation(resource="nvidia.com/s", device=each, holder="default/p")
                for each in held
            )
        )
        free = [each for each in every if each not in held]
        before = Counter(each.partition("::")[0] for each in held)
        (chosen,) = prefer(
            seen, ledger, "nvidia.com/s", available=free, must_include=(), size=1
        ).devices

        possible = {each.partition("::")[0] for each in free}
        assert before[chosen.partition("::")[0]] == min(before[gpu_] for gpu_ in possible)
        held.append(chosen)
        if not ending:
            after = Counter(each.partition("::")[0] for each in held)
            counts = [after[gpu(i).uuid] for i in range(gpus)]
            assert max(counts) - min(counts) <= 1
        elif step < len(ending):
            del held[ending[step] % len(held)]
