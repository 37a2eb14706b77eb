"""Entries of ``sharing`` on a node: what they select, what does not fit, what is preferred."""

import pytest
from builders import gpu, inventory, numa, pairs_by_node

from agent.config.document import read_document
from agent.config.own import PlacementPolicy, PlacementRules, Plumbline
from agent.config.schema import Config
from agent.config.sharing import Sharing, TimeSlice
from agent.config.tree import assemble
from agent.ledger.ledger import Allocation, Ledger
from agent.model.inventory import MigMode
from agent.planning.health import Health
from agent.planning.mps import clients, plan_sets
from agent.planning.mps_steps import Taken, plan_mps
from agent.planning.preference import prefer
from agent.planning.sharing import refusal
from agent.planning.snapshot import build_snapshot

L40S = "NVIDIA L40S"


def node(**facts):
    """GPUs 0 to 3 are H100, 4 to 7 are L40S; module ids count from 1."""
    gpus = [
        gpu(i, module_id=i + 1, numa_node=i // 4, **({"name": L40S} if i > 3 else {}))
        for i in range(8)
    ]
    pairs = pairs_by_node(gpus)
    return inventory(*gpus, pairs=pairs, numa_nodes=(numa(0), numa(1)), **facts)


def config(text, **plumbline):
    reading = read_document(text, "c.yaml")
    assert not reading.problems
    read = assemble(Config, {path: each.value for path, each in reading.found.items()})
    return Config(sharing=read.sharing, resources=read.resources, plumbline=Plumbline(**plumbline))


def look(sharing, found=None, **plumbline):
    return build_snapshot(
        config(f"sharing: {sharing}", **plumbline), found or node(), Health(), previous=None
    )


def turns(devices, **more):
    words = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        f"{{timeSlicing: {{resources: [{{name: gpu, replicas: 2, devices: {devices}{words}}}]}}}}"
    )


def shared(seen):
    return sorted(int(uuid.removeprefix("GPU-")) for uuid in seen.catalog.shared.by_device)


def problems(seen):
    return [f"{each.path}: {each.message}" for each in seen.catalog.shared.unfit]


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ('{model: "*L40S*"}', [4, 5, 6, 7]),
        ('{model: ["*H100*", "*A100*"]}', [0, 1, 2, 3]),
        ("{moduleId: [1, 8]}", [0, 7]),
        ('{pciAddress: "00000000:03:00.0"}', [2]),
        ('{model: "*L40S*", moduleId: [4, 5]}', [4]),
        ("{index: 3}", [3]),
        ("{}", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_gpus_are_selected_by_what_they_are_and_where(devices, expected):
    seen = look(turns(devices))

    assert (shared(seen), problems(seen)) == (expected, [])


PATH = "sharing.timeSlicing.resources[0].devices"


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ("{moduleId: 9}", "no GPU has the module id 9; there are 1, 2, 3, 4, 5, 6, 7, 8"),
        (
            '{pciAddress: "0000:09:00.0"}',
            "no GPU has the PCI address 0000:09:00.0; did you mean 0000:08:00.0?",
        ),
        (
            '{model: "*A100*"}',
            "fits no GPU of nvidia.com/gpu; there are 0 (NVIDIA H100 80GB HBM3), 1",
        ),
    ],
)
def test_a_selection_that_fits_nothing_says_what_is_there(devices, said):
    seen = look(turns(devices))

    assert shared(seen) == []
    (problem,) = problems(seen)
    assert problem.startswith(f"{PATH}: {said}")


def test_the_length_of_a_turn_is_one_of_the_drivers():
    seen = look(turns("[6]", timeSlice="long"))

    assert seen.catalog.shared.by_device["GPU-6"].time_slice is TimeSlice.LONG


def of_one(sharing, devices):
    return refusal(look(sharing).catalog.shared, "nvidia.com/gpu", devices)


def test_a_container_gets_so_many_replicas():
    limited = turns("all", maxSharedPerPod=2)

    assert of_one(limited, ["GPU-0::0", "GPU-1::0"]) is None
    said = of_one(limited, ["GPU-0::0", "GPU-1::0", "GPU-2::0"])
    assert "asks for 3 of nvidia.com/gpu" in said
    assert "ask for 2" in said


def test_replicas_of_one_gpu_are_several_only_where_that_is_allowed():
    assert of_one(turns("all"), ["GPU-0::0", "GPU-0::1"]) is None
    said = of_one(turns("all", distinctGpus="true"), ["GPU-0::0", "GPU-0::1"])
    assert "sharing.timeSlicing.resources[0].distinctGpus" in said


def preferred(seen, size, *, held=(), resource="nvidia.com/gpu"):
    ledger = Ledger(
        confirmed=tuple(
            Allocation(resource=resource, device=each, holder="default/p") for each in held
        )
    )
    offered = [each.id for each in seen.catalog.resources[resource] if each.id not in held]
    return prefer(seen, ledger, resource, available=offered, must_include=(), size=size).devices


# Of GPU 0 nothing is taken, of GPU 1 three of four: evenly spread, both would come from GPU 0.
UNEVEN = ["GPU-1::0", "GPU-1::1", "GPU-1::2"]


@pytest.mark.parametrize(
    ("distinct", "policy", "expected"),
    [
        ("false", PlacementPolicy.DEFAULT, ["GPU-0", "GPU-0"]),
        ("false", PlacementPolicy.SPREAD, ["GPU-0", "GPU-1"]),
        ("true", PlacementPolicy.DEFAULT, ["GPU-0", "GPU-1"]),
    ],
)
def test_two_replicas_are_of_two_gpus_where_they_are_to_be(distinct, policy, expected):
    entry = f"{{name: gpu, replicas: 4, devices: [0, 1], rename: s, distinctGpus: {distinct}}}"
    seen = look(
        f"{{timeSlicing: {{resources: [{entry}]}}}}", placement=PlacementRules(policy=policy)
    )

    chosen = preferred(seen, 2, held=UNEVEN, resource="nvidia.com/s")

    assert sorted(each.partition("::")[0] for each in chosen) == expected


def test_more_replicas_than_gpus_are_as_even_as_can_be():
    entry = "{name: gpu, replicas: 4, devices: [0, 1, 2], rename: s, distinctGpus: true}"
    seen = look(f"{{timeSlicing: {{resources: [{entry}]}}}}")

    chosen = preferred(seen, 5, held=UNEVEN, resource="nvidia.com/s")

    gpus = sorted(each.partition("::")[0] for each in chosen)
    assert gpus == ["GPU-0", "GPU-0", "GPU-1", "GPU-2", "GPU-2"]


def test_who_asks_for_one_device_gets_a_replica_where_gpus_stand_beside():
    seen = look(turns("[7]"))

    assert preferred(seen, 1)[0].startswith("GPU-7::")
    assert preferred(seen, 1, held=["GPU-7::0"]) == ("GPU-7::1",)
    assert "::" not in preferred(seen, 1, held=["GPU-7::0", "GPU-7::1"])[0]


def test_who_asks_for_several_gets_whole_gpus_as_long_as_there_are_so_many():
    seen = look(turns("[7]"))

    assert set(preferred(seen, 4)) == {"GPU-0", "GPU-1", "GPU-2", "GPU-3"}
    most = preferred(seen, 8)
    assert len(most) == 8
    assert {f"GPU-{i}" for i in range(7)} < set(most)


def mps(devices="all", **more):
    words = "".join(f", {key}: {value}" for key, value in {"rename": "s", **more}.items())
    return f"{{mps: {{resources: [{{name: gpu, replicas: 4, devices: {devices}{words}}}]}}}}"


def test_mps_is_refused_where_it_cannot_be():
    old = inventory(
        gpu(0, compute_capability="7.0"),
        gpu(1, compute_capability="6.1"),
        gpu(2, mig=MigMode(current=True, pending=True)),
    )

    assert problems(look(mps("[0]"), old)) == []
    assert problems(look(mps("[1]"), old)) == [
        (
            "sharing.mps.resources[0].devices: GPU 1 has compute capability 6.1; MPS keeps clients"
            " apart since 7.0 (Volta)"
        )
    ]
    assert problems(look(mps("[2]"), old)) == [
        "sharing.mps.resources[0].devices: GPU 2 is in MIG mode, in which MPS cannot be exclusive"
    ]


def test_a_name_is_through_mps_or_not():
    half = look(mps("[6, 7]", rename="gpu"))

    (problem,) = problems(half)
    assert problem.startswith("sharing.mps.resources[0].rename: nvidia.com/gpu would be")
    assert problems(look(mps("all", rename="gpu"))) == []


@pytest.mark.parametrize(
    ("cuda", "most"), [("13.1", 60), ("14.0", 60), ("13.0", 48), ("12.8", 48), (None, 48)]
)
def test_a_server_serves_as_many_clients_as_its_driver_lets_it(cuda, most):
    assert clients(cuda) == most


def sets(sharing):
    seen = look(sharing)
    return plan_sets(seen.inventory.gpus, seen.catalog.shared.by_device)


def test_a_daemon_serves_what_one_container_may_get_together():
    assert [each.gpus for each in sets(mps("[2, 5]"))] == [("GPU-2",), ("GPU-5",)]
    assert [each.gpus for each in sets(mps("[2, 5]", maxSharedPerPod=2))] == [("GPU-2", "GPU-5")]


NOBODY = {}
PODS = {"GPU-2": ("pod default/a",)}


def test_daemons_begin_where_nobody_holds_the_gpu_and_the_kubelet_has_said_so():
    two, five = sets(mps("[2, 5]"))

    assert plan_mps((two, five), (), NOBODY).begin == (two, five)
    unknown = plan_mps((two, five), (), None)
    assert (unknown.begin, set(unknown.waiting)) == ((), {"GPU-2", "GPU-5"})
    held = plan_mps((two, five), (), PODS)
    assert held.begin == (five,)
    assert held.waiting == {"GPU-2": "its MPS daemon starts once these have ended: pod default/a"}


def test_daemons_end_where_nobody_holds_the_gpu():
    two, five = (Taken(set=each, modes={}) for each in sets(mps("[2, 5]")))

    assert plan_mps((), (two, five), NOBODY).end == (two, five)
    held = plan_mps((), (two, five), PODS)
    assert (held.end, held.keep) == ((five,), (two,))
    assert held.waiting == {"GPU-2": "its MPS daemon ends once these have ended: pod default/a"}


def test_other_limits_are_no_reason_to_end_a_daemon_and_other_gpus_are():
    (before,) = sets(mps("[2, 5]", maxSharedPerPod=2))
    taken = Taken(set=before, modes={"GPU-2": 0, "GPU-5": 0})
    (lighter,) = sets(mps("[2, 5]", maxSharedPerPod=2, weights="[7, 1, 1, 1]"))
    (wider,) = sets(mps("[2, 5, 6]", maxSharedPerPod=2))

    kept = plan_mps((lighter,), (taken,), PODS)
    assert kept.keep == (Taken(set=lighter, modes=taken.modes),)
    assert not kept.waiting
    waits = plan_mps((wider,), (taken,), PODS)
    assert (waits.keep, waits.end, waits.begin) == ((taken,), (), ())
    assert set(waits.waiting) == {"GPU-2", "GPU-5", "GPU-6"}
    assert plan_mps((wider,), (taken,), NOBODY).end == (taken,)


def test_nothing_is_shared_where_nothing_is_said():
    assert Sharing().section is None
