"""How GPUs in MIG mode are offered under each strategy, and what is left out with which reason."""

import dataclasses

import pytest
from builders import gpu, inventory, numa
from divided import OFF, divided
from msgspec.structs import replace

from agent.config.flags import resolve
from agent.config.schema import Config, Flags, MigStrategy, PluginFlags
from agent.config.sharing import Resource, Resources
from agent.ledger.ledger import Allocation, Ledger
from agent.planning.catalog import build_catalog
from agent.planning.health import Health
from agent.planning.preference import free_gpus
from agent.planning.snapshot import build_snapshot
from agent.planning.strategy import GPU_RESOURCE

SMALL, HALF = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"


def config(strategy):
    return Config(flags=Flags(mig_strategy=MigStrategy(strategy)))


def offer(strategy, *gpus, names=(), ledger=None, health=Health(), **facts):  # noqa: B008
    return build_catalog(
        inventory(*gpus),
        health,
        flags=Flags(mig_strategy=MigStrategy(strategy)),
        names=Resources(gpus=names),
        ledger=ledger,
        **facts,
    )


def ids(catalog):
    return {name: [d.id for d in devices] for name, devices in catalog.resources.items()}


def reasons(catalog, resource):
    return {device.id: device.reason for device in catalog.resources[resource]}


def left_out(catalog):
    return {each.gpu.uuid: each.reason for each in catalog.left_out}


def held(device, resource):
    return Ledger(confirmed=(Allocation(resource=resource, device=device, holder="team/job"),))


def test_none_does_not_look_at_mig():
    catalog = offer("none", divided(0, "3g.40gb"), divided(1), gpu(2))

    assert ids(catalog) == {GPU_RESOURCE: ["GPU-0", "GPU-1", "GPU-2"]}
    assert all(device.healthy for device in catalog.resources[GPU_RESOURCE])
    assert left_out(catalog) == {}


def test_mixed_gives_every_profile_a_name_and_leaves_an_empty_gpu_out():
    catalog = offer(
        "mixed",
        divided(0, "1g.10gb", "1g.10gb+me", ("3g.40gb", 4, (1, 2))),
        divided(1),
        gpu(2, mig=OFF),
        gpu(3),
    )

    assert ids(catalog) == {
        GPU_RESOURCE: ["GPU-2", "GPU-3"],
        "nvidia.com/mig-1c.3g.40gb": ["MIG-0-3-0"],
        "nvidia.com/mig-1g.10gb": ["MIG-0-1-0"],
        "nvidia.com/mig-1g.10gb.me": ["MIG-0-2-0"],
        "nvidia.com/mig-2c.3g.40gb": ["MIG-0-3-1"],
    }
    assert left_out(catalog) == {
        "GPU-1": "it is in MIG mode and has no instances (plumbline mig status)"
    }


@pytest.mark.parametrize(
    ("board", "part", "resource"),
    [
        ("A100", "3g.20gb", "mig-3g.20gb"),
        ("A30", "2g.12gb+me", "mig-2g.12gb.me"),
        ("H200", "7g.141gb", "mig-7g.141gb"),
        ("B200", "1g.23gb", "mig-1g.23gb"),
        ("RTX", "1g.24gb-me", "mig-1g.24gb-me"),
        ("RTX", "1g.24gb+me.all", "mig-1g.24gb.me.all"),
        ("RTX", "4g.96gb+gfx", "mig-4g.96gb.gfx"),
    ],
)
def test_resources_are_called_as_upstream_calls_them(board, part, resource):
    catalog = offer("mixed", divided(0, part, board=board))

    assert set(ids(catalog)) == {GPU_RESOURCE, f"nvidia.com/{resource}"}


def test_the_name_is_of_the_attributes_where_a_driver_calls_the_profile_otherwise():
    # One driver's nvidia-smi says 1g.24gb of what is 1g.23gb by its memory.
    odd = divided(0, "1g.23gb", board="B200")
    renamed = tuple(
        dataclasses.replace(each, name=each.name.replace("23gb", "24gb"))
        for each in odd.partition.profiles
    )

    catalog = offer("mixed", replace(odd, partition=replace(odd.partition, profiles=renamed)))

    assert "nvidia.com/mig-1g.23gb" in catalog.resources


def test_two_profiles_of_one_name_are_told_apart_by_the_driver():
    # By the memory that a mock of an H200 tells, 1g.18gb comes out as 1g.35gb, too.
    both = divided(0, "1g.18gb", ("1g.35gb", 2), board="H200")
    larger = tuple(
        dataclasses.replace(each, memory_mib=18432) if each.slices == 1 else each
        for each in both.partition.profiles
    )

    catalog = offer("mixed", replace(both, partition=replace(both.partition, profiles=larger)))

    assert {"nvidia.com/mig-1g.18gb", "nvidia.com/mig-1g.35gb"} <= catalog.resources.keys()


def test_mixed_names_an_instance_by_its_profile_whatever_its_gpu_would_be_called():
    names = [Resource(pattern="*A100*", name="a100")]

    catalog = offer("mixed", divided(0, "1g.10gb"), gpu(1), names=names)

    assert ids(catalog) == {SMALL: ["MIG-0-1-0"]}
    assert left_out(catalog) == {"GPU-1": "no pattern of resources.gpus fits NVIDIA H100 80GB HBM3"}


def test_a_gpu_whose_instances_cannot_be_seen_is_left_out_with_that_reason():
    for strategy in ("single", "mixed"):
        catalog = offer(strategy, divided(0, partition=None), gpu(1))

        assert ids(catalog) == {GPU_RESOURCE: ["GPU-1"]}
        assert "does not show its instances" in left_out(catalog)["GPU-0"]


def test_a_mode_that_waits_for_a_reset_is_not_yet_there():
    waiting = replace(OFF, pending=True)

    assert ids(offer("mixed", gpu(0, mig=waiting))) == {GPU_RESOURCE: ["GPU-0"]}


def test_single_offers_alike_instances_under_the_name_of_a_gpu():
    catalog = offer("single", divided(0, "1g.10gb", "1g.10gb"), divided(1, "1g.10gb"))

    assert ids(catalog) == {GPU_RESOURCE: ["MIG-0-1-0", "MIG-0-2-0", "MIG-1-1-0"]}
    assert catalog.is_divided(GPU_RESOURCE)
    assert left_out(catalog) == {}


def test_single_without_any_instance_offers_whole_gpus():
    catalog = offer("single", divided(0), gpu(1))

    assert ids(catalog) == {GPU_RESOURCE: ["GPU-1"]}
    assert set(left_out(catalog)) == {"GPU-0"}


def test_what_does_not_fit_single_is_left_out_alone():
    catalog = offer(
        "single",
        divided(0, "3g.40gb", "3g.40gb"),
        divided(1, "1g.10gb", "3g.40gb"),
        divided(2),
        gpu(3),
        divided(4, "3g.40gb"),
        divided(5, "1g.10gb"),
        divided(6, ("3g.40gb", 0, (1, 1))),
    )

    assert ids(catalog) == {GPU_RESOURCE: ["MIG-0-1-0", "MIG-0-2-0", "MIG-4-1-0"]}
    whole = f"{GPU_RESOURCE} is 3g.40gb of 60 multiprocessors here (migStrategy single)"
    assert left_out(catalog) == {
        "GPU-1": "it is divided into 1g.10gb of 16 multiprocessors, 3g.40gb of 60 multiprocessors:"
        " migStrategy single offers one profile; use mixed",
        "GPU-2": "it is in MIG mode and has no instances (plumbline mig status)",
        "GPU-3": f"it is not in MIG mode, and {whole}",
        "GPU-5": f"it is 1g.10gb of 16 multiprocessors, and {whole}",
        "GPU-6": f"it is 1c.3g.40gb of 20 multiprocessors, and {whole}",
    }


def test_of_two_kinds_under_single_that_of_the_first_gpu_is_offered():
    catalog = offer("single", divided(0, "1g.10gb"), divided(1, "3g.40gb"))

    assert ids(catalog) == {GPU_RESOURCE: ["MIG-0-1-0"]}


def test_under_single_each_resource_is_of_one_kind():
    names = [Resource(pattern="*H100*", name="h100"), Resource(pattern="*", name="rest")]

    catalog = offer("single", divided(0, "1g.10gb"), divided(1, "1g.6gb", board="A30"), names=names)

    assert ids(catalog) == {"nvidia.com/h100": ["MIG-0-1-0"], "nvidia.com/rest": ["MIG-1-1-0"]}


def test_instances_have_the_numa_node_of_their_gpu():
    found = inventory(divided(0, "1g.10gb", numa_node=1), numa_nodes=(numa(0), numa(1)))

    catalog = build_catalog(found, Health(), flags=Flags(mig_strategy=MigStrategy.MIXED))

    assert catalog.resources[SMALL][0].numa_nodes == (1,)


def test_a_mark_on_an_instance_is_its_own_and_one_on_the_gpu_is_everybodys():
    gpus = divided(0, "1g.10gb", "1g.10gb"), divided(1, "1g.10gb")
    one = Health().marked("MIG-0-2-0", "Xid 48")
    all_ = Health().marked("GPU-0", "Xid 79")

    assert reasons(offer("mixed", *gpus, health=one), SMALL) == {
        "MIG-0-1-0": None,
        "MIG-0-2-0": "Xid 48",
        "MIG-1-1-0": None,
    }
    assert reasons(offer("mixed", *gpus, health=all_), SMALL) == {
        "MIG-0-1-0": "Xid 79",
        "MIG-0-2-0": "Xid 79",
        "MIG-1-1-0": None,
    }
    assert reasons(offer("none", *gpus, health=one), GPU_RESOURCE)["GPU-0"] == "Xid 48"


def test_a_gpu_of_which_an_instance_is_held_is_withheld_and_the_other_way_round():
    two = divided(0, "1g.10gb", "1g.10gb"), gpu(1)

    whole = offer("none", *two, ledger=held("MIG-0-1-0", SMALL))
    parts = offer("mixed", *two, ledger=held("GPU-0", GPU_RESOURCE))

    assert reasons(whole, GPU_RESOURCE) == {
        "GPU-0": f"MIG-0-1-0 is held as {SMALL} by team/job",
        "GPU-1": None,
    }
    assert whole.withheld == {"GPU-0"}
    assert set(reasons(parts, SMALL).values()) == {"GPU-0 is held as nvidia.com/gpu by team/job"}
    assert parts.withheld == {"MIG-0-1-0", "MIG-0-2-0"}


def test_what_is_held_stays_listed_when_it_no_longer_fits():
    ledger = held("MIG-1-1-0", GPU_RESOURCE)

    catalog = offer("single", divided(0, "3g.40gb"), divided(1, "1g.10gb"), ledger=ledger)

    assert [d.healthy for d in catalog.resources[GPU_RESOURCE]] == [True, False]
    assert "and nvidia.com/gpu is 3g.40gb" in reasons(catalog, GPU_RESOURCE)["MIG-1-1-0"]


def test_a_held_gpu_that_was_divided_stays_listed_as_unhealthy():
    catalog = offer("mixed", divided(0, "1g.10gb"), gpu(1), ledger=held("GPU-0", GPU_RESOURCE))

    assert reasons(catalog, GPU_RESOURCE) == {"GPU-0": "it is in MIG mode now", "GPU-1": None}
    assert not catalog.is_divided(GPU_RESOURCE)


def after(strategy, *looks, ledger=None):
    """The snapshot after several looks, each a list of GPUs."""
    seen = None
    for gpus in looks:
        seen = build_snapshot(
            config(strategy), inventory(*gpus), Health(), previous=seen, ledger=ledger
        )
    return seen


def test_a_destroyed_instance_stays_listed_while_a_container_holds_it():
    before, now = [divided(0, "1g.10gb", "1g.10gb")], [divided(0, "1g.10gb")]
    ledger = held("MIG-0-2-0", SMALL)

    free = after("mixed", before, now)
    busy = after("mixed", before, now, ledger=ledger)
    long_after = after("mixed", before, now, now, now, ledger=ledger)

    assert reasons(free.catalog, SMALL) == {"MIG-0-1-0": None}
    for seen in (busy, long_after):
        assert reasons(seen.catalog, SMALL) == {
            "MIG-0-1-0": None,
            "MIG-0-2-0": "it was destroyed",
        }
    ended = long_after.with_state(long_after.health, Ledger())
    assert reasons(ended.catalog, SMALL) == {"MIG-0-1-0": None}


def test_instances_that_come_and_go_are_not_remembered():
    looks = [[divided(0, "1g.10gb")], [divided(0)]] * 3

    assert after("mixed", *looks, [divided(0)]).destroyed == ()


def test_what_took_the_place_of_a_held_instance_is_withheld_and_the_rest_is_not():
    # A container keeps what it was given: the capability nodes of GPU instance 1.
    ledger = held("MIG-0-1-0", SMALL)
    again = divided(0, "1g.10gb", "1g.10gb")
    fresh = tuple(
        dataclasses.replace(
            each,
            compute=tuple(
                dataclasses.replace(c, uuid=c.uuid.replace("MIG", "MIG-new")) for c in each.compute
            ),
        )
        for each in again.partition.instances
    )
    remade = replace(again, partition=replace(again.partition, instances=fresh))

    seen = after("mixed", [divided(0, "1g.10gb")], [remade], ledger=ledger)

    assert reasons(seen.catalog, SMALL) == {
        "MIG-0-1-0": "it was destroyed",
        "MIG-new-0-1-0": f"MIG-0-1-0 is held as {SMALL} by team/job",
        "MIG-new-0-2-0": None,
    }


def test_a_gpu_is_not_whole_again_while_a_destroyed_instance_of_it_is_held():
    ledger = held("MIG-0-1-0", SMALL)

    seen = after("mixed", [divided(0, "1g.10gb")], [gpu(0, mig=OFF)], ledger=ledger)

    assert not seen.catalog.find(GPU_RESOURCE, "GPU-0").healthy
    assert seen.catalog.withheld == {"GPU-0"}
    assert free_gpus(seen.catalog, ledger) == ()


def test_the_instances_of_a_lost_gpu_stay_listed_as_unhealthy():
    seen = after("mixed", [divided(0, "1g.10gb"), gpu(1)], [gpu(1)])

    assert reasons(seen.catalog, SMALL) == {"MIG-0-1-0": "the driver no longer lists it"}


def test_a_divided_gpu_is_not_counted_as_free():
    for strategy in ("single", "mixed"):
        seen = after(strategy, [divided(0, "1g.10gb"), divided(1), gpu(2)])
        whole = () if strategy == "single" else ("GPU-2",)

        assert free_gpus(seen.catalog, Ledger()) == whole


@pytest.mark.parametrize(
    ("argv", "healthy"),
    [([], True), (["--pass-device-specs"], False), (["--device-list-strategy=cdi-cri"], False)],
)
def test_an_instance_without_a_capability_node_is_healthy_only_where_it_can_be_given(argv, healthy):
    one = divided(0, "1g.10gb")
    closed = tuple(dataclasses.replace(each, access_node=None) for each in one.partition.instances)
    flags = resolve([*argv, "--mig-strategy=mixed"], {}).config.flags

    catalog = build_catalog(
        inventory(replace(one, partition=replace(one.partition, instances=closed))),
        Health(),
        flags=flags,
    )

    assert catalog.resources[SMALL][0].healthy is healthy


def test_gpus_that_are_divided_anew_are_unhealthy_until_that_is_over():
    gpus = divided(0, "1g.10gb"), divided(1, "1g.10gb"), gpu(2), gpu(3)
    before = after("mixed", gpus)
    changing = {"GPU-0": "being divided anew", "GPU-2": "being divided anew"}

    during = before.with_state(before.health, before.ledger, changing=changing)
    struck = during.with_state(during.health.marked("GPU-0", "Xid 79"), during.ledger)
    over = struck.with_state(before.health, before.ledger, changing={})

    assert reasons(during.catalog, SMALL) == {"MIG-0-1-0": "being divided anew", "MIG-1-1-0": None}
    assert reasons(during.catalog, GPU_RESOURCE) == {"GPU-2": "being divided anew", "GPU-3": None}
    assert free_gpus(during.catalog, Ledger()) == ("GPU-3",)
    assert reasons(struck.catalog, SMALL)["MIG-0-1-0"] == "Xid 79"
    assert over.catalog == before.catalog


def test_what_is_made_while_a_gpu_is_divided_anew_is_not_given_away_yet():
    flags = Flags(mig_strategy=MigStrategy.MIXED, plugin=PluginFlags())
    found = inventory(divided(0, "3g.40gb"))

    seen = build_snapshot(
        Config(flags=flags), found, Health(), previous=None, changing={"GPU-0": "in work"}
    )

    assert reasons(seen.catalog, HALF) == {"MIG-0-1-0": "in work"}


def test_resources_mig_names_instances_by_their_profile_and_leaves_out_the_rest():
    node = inventory(divided(0, "3g.40gb", "1g.10gb"))
    names = Resources(mig=(Resource(pattern="*g.40gb", name="half"),))
    flags = Flags(mig_strategy=MigStrategy.MIXED)

    found = build_catalog(node, Health(), flags=flags, names=names)

    assert [each.id for each in found.resources["nvidia.com/half"]] == ["MIG-0-1-0"]
    assert set(found.resources) == {"nvidia.com/gpu", "nvidia.com/half"}
    (left,) = found.left_out
    assert left.reason == "no pattern of resources.mig fits its 1g.10gb"
