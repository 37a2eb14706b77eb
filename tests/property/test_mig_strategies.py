"""What every MIG strategy keeps to, however GPUs are divided and whatever is held of them."""

from collections import Counter

from builders import gpu, inventory
from divided import OFF, divided
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import Config, Flags, MigStrategy
from agent.ledger.ledger import Allocation, Ledger
from agent.planning.health import Health
from agent.planning.preference import free_gpus, prefer
from agent.planning.snapshot import build_snapshot

# Divisions that an H100 can have: no two parts on one slice.
DIVISIONS = (
    (),
    ("1g.10gb",) * 7,
    ("1g.10gb", "1g.10gb+me"),
    (("3g.40gb", 0), ("3g.40gb", 4)),
    (("3g.40gb", 4), ("1g.10gb", 0), ("1g.10gb", 2)),
    (("3g.40gb", 0, (1, 1, 1)), ("2g.20gb", 4)),
    (("7g.80gb", 0),),
)


@st.composite
def gpus(draw):
    """One to five GPUs, divided or not."""
    kinds = draw(st.lists(st.sampled_from([None, *DIVISIONS]), min_size=1, max_size=5))
    return [gpu(i, mig=OFF) if k is None else divided(i, *k) for i, k in enumerate(kinds)]


def look(found, strategy, previous=None, **facts):
    config = Config(flags=Flags(mig_strategy=strategy))
    return build_snapshot(config, inventory(*found), Health(), previous=previous, **facts)


def devices(seen, *, healthy_only=False):
    """Every offered device with its resource."""
    return [
        (resource, device)
        for resource, listed in seen.catalog.resources.items()
        for device in listed
        if device.healthy or not healthy_only
    ]


@given(gpus(), st.sampled_from(MigStrategy))
def test_every_gpu_is_offered_or_left_out_with_a_reason_and_nothing_twice(found, strategy):
    seen = look(found, strategy)

    counted = Counter(device.id for _, device in devices(seen))
    assert set(counted.values()) <= {1}
    offered = {device.gpu for _, device in devices(seen)}
    left_out = {each.gpu.uuid for each in seen.catalog.left_out if each.reason}
    assert offered | left_out == {each.uuid for each in found}
    assert not offered & left_out


@given(gpus(), st.sampled_from(MigStrategy))
def test_a_gpu_is_never_offered_whole_and_in_parts(found, strategy):
    seen = look(found, strategy)

    whole = {device.gpu for _, device in devices(seen) if not device.is_share}
    parts = {device.gpu for _, device in devices(seen) if device.is_share}
    assert not whole & parts
    assert set(free_gpus(seen.catalog, Ledger())) == whole


@given(gpus())
def test_under_mixed_no_gpu_depends_on_another(found):
    together = look(found, MigStrategy.MIXED)

    alone = [each for one in found for each in devices(look([one], MigStrategy.MIXED))]
    assert sorted(devices(together), key=str) == sorted(alone, key=str)


@given(gpus())
def test_under_single_a_resource_is_of_one_kind(found):
    seen = look(found, MigStrategy.SINGLE)

    kinds = {
        (str(part.profile), part.multiprocessors) if part else None
        for _, device in devices(seen)
        for part in (seen.instances.get(device.id),)
    }
    assert len(kinds) <= 1


@given(gpus(), gpus(), st.sampled_from(MigStrategy), st.sampled_from(MigStrategy), st.data())
def test_what_is_held_is_never_given_again_in_another_form(before, after, one, other, data):
    first = look(before, one)
    held = data.draw(st.sets(st.sampled_from(devices(first) or [None]), max_size=4)) - {None}
    ledger = Ledger(
        confirmed=tuple(
            Allocation(resource=resource, device=device.id, holder="a/b")
            for resource, device in held
        )
    )
    first = first.with_state(first.health, ledger)

    seen = look(after, other, previous=first, ledger=ledger)

    taken = {(resource, device.id) for resource, device in held}
    for resource, device in devices(seen, healthy_only=True):
        for old_resource, old in held:
            if device.gpu != old.gpu or (resource, device.id) in taken:
                continue
            # Beside it on the same GPU only another instance can be given.
            assert device.is_share
            assert old.is_share
            new_part, old_part = seen.instances[device.id], first.instances[old.id]
            assert device.id != old.id or old_resource == resource
            places = [(p.gpu_instance, p.compute_instance) for p in (new_part, old_part)]
            assert places[0] != places[1]


@given(gpus(), st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_preference_is_valid_and_the_same_whatever_the_order(found, size, random):
    seen = look(found, MigStrategy.MIXED)
    for resource, listed in seen.catalog.resources.items():
        ids = [device.id for device in listed]
        shuffled = random.sample(ids, len(ids))

        answers = [
            prefer(seen, Ledger(), resource, available=each, must_include=(), size=size).devices
            for each in (ids, shuffled)
        ]

        assert answers[0] == answers[1]
        assert len(set(answers[0])) == len(answers[0]) == min(size, len(ids))
        assert set(answers[0]) <= set(ids)
