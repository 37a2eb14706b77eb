"""NICs given together with GPUs, who gets none, and what is written down of it."""

import json

import pytest
from builders import gpu, inventory, nic

from agent.config.own import Nics
from agent.ledger.ledger import Account, Allocation
from agent.model.inventory import Distance, NicPort, PairDistance, PciAddress
from agent.planning.nics import allot, nccl_hcas
from agent.planning.rails import usable_nics
from agent.serving.nic_grants import UNTOLD_S, NicGrants

GPU = "nvidia.com/gpu"
DOWN = (NicPort(number=1, state="DOWN", rate_gbps=None, link_layer=None),)


def node(distances, **changes):
    """A node from ``{(gpu, nic): distance}``; ``changes`` are facts of single NICs."""
    gpus = [gpu(g) for g in sorted({g for g, _ in distances})]
    names = sorted({name for _, name in distances})
    nics = tuple(
        nic(name, **{"verbs_node": f"/dev/infiniband/uverbs{i}", **changes.get(name, {})})
        for i, name in enumerate(names)
    )
    pairs = tuple(
        PairDistance(a=f"GPU-{g}", b=name, distance=Distance(d))
        for (g, name), d in distances.items()
    )
    return inventory(*gpus, nics=nics, pairs=pairs)


PAIRED = {
    (g, f"mlx5_{n}"): "PXB" if g // 2 == n // 2 else "SYS" for g in range(4) for n in range(4)
}
ONE_FOR_TWO = {(0, "mlx5_0"): "PXB", (1, "mlx5_0"): "PXB", (2, "mlx5_0"): "SYS"}


def given(found, *gpus, taken=None, **wanted):
    chosen = [found.gpus[g] for g in gpus]
    return allot(found, chosen, Nics(enabled=True, **wanted), taken or {})


def test_each_gpu_gets_a_nic_of_its_own():
    allotment = given(node(PAIRED), 0, 1)

    assert [(r.gpu, r.nic, r.distance, r.shared_with) for r in allotment.rails] == [
        ("GPU-0", "mlx5_0", "PXB", 0),
        ("GPU-1", "mlx5_1", "PXB", 0),
    ]
    assert allotment.device_nodes == ("/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1")
    assert allotment.missing == ()


def test_a_nic_that_another_container_has_comes_last():
    allotment = given(node(PAIRED), 0, taken={"mlx5_0": 1})

    assert allotment.nics == ("mlx5_1",)


def test_one_that_others_have_is_shared_and_said_to_be():
    allotment = given(node(PAIRED), 0, taken={"mlx5_0": 2, "mlx5_1": 1})

    assert [(r.nic, r.shared_with) for r in allotment.rails] == [("mlx5_1", 1)]


def test_one_that_must_not_be_shared_is_missing_and_said_to_be():
    allotment = given(node(ONE_FOR_TWO), 1, taken={"mlx5_0": 1}, shared=False)

    assert allotment.rails == ()
    assert [(m.gpu, m.reason) for m in allotment.missing] == [
        ("GPU-1", "other containers have mlx5_0, and nics.shared is false")
    ]


def test_two_gpus_of_a_container_share_its_only_nic():
    shared = given(node(ONE_FOR_TWO), 0, 1)
    strict = given(node(ONE_FOR_TWO), 0, 1, shared=False)

    assert [(r.gpu, r.nic) for r in shared.rails] == [("GPU-0", "mlx5_0"), ("GPU-1", "mlx5_0")]
    assert shared.nics == ("mlx5_0",)
    assert [m.reason for m in strict.missing] == [
        "other GPUs of this container have mlx5_0, and nics.shared is false"
    ]


def test_a_gpu_far_from_every_nic_gets_none_and_is_told_the_nearest():
    (missing,) = given(node(ONE_FOR_TWO), 2).missing

    assert missing.reason == "no usable NIC is beside it; the nearest is mlx5_0 at SYS"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ports": DOWN}, "no usable NIC is beside it; the node has none whose RDMA port is up"),
        ({"verbs_node": None}, "mlx5_0 has no device node in /dev/infiniband"),
    ],
)
def test_a_nic_that_cannot_be_given_is_named(change, reason):
    (missing,) = given(node({(0, "mlx5_0"): "PIX"}, mlx5_0=change), 0).missing

    assert missing.reason == reason


def test_several_nics_for_each_gpu():
    two = given(node(PAIRED), 0, per_gpu=2)
    three = given(node(PAIRED), 0, per_gpu=3)

    assert two.nics == ("mlx5_0", "mlx5_1")
    assert [m.reason for m in three.missing] == [
        "beside it is mlx5_0, mlx5_1 only, and nics.perGpu is 3"
    ]


def test_where_the_cpu_is_coherent_distance_is_no_pcie_class():
    found = inventory(
        gpu(0, c2c_links=10, numa_node=1),
        nics=(nic("mlx5_0", numa_node=1, verbs_node="/dev/infiniband/uverbs0"),),
        pairs=(PairDistance(a="GPU-0", b="mlx5_0", distance=Distance.SYS),),
    )

    assert [(r.nic, r.distance) for r in given(found, 0).rails] == [("mlx5_0", "C2C")]


def test_a_virtual_function_is_no_rail_beside_its_card():
    card = PciAddress("0000:10:00.0")
    function = PciAddress("0000:10:00.1")
    found = inventory(
        nics=(
            nic("mlx5_0", address=card),
            nic("mlx5_1", address=function, physical_function=card),
            nic("mlx5_2", address=PciAddress("0000:20:00.1"), physical_function=function),
        )
    )

    assert [n.name for n in usable_nics(found)] == ["mlx5_0", "mlx5_2"]


def test_nccl_is_given_exact_names():
    assert nccl_hcas(("mlx5_1", "mlx5_10")) == "=mlx5_1,mlx5_10"


def document(*devices, nics=()):
    return {"devices": [*devices], "nics": [{"name": name} for name in nics]}


def account(*devices, asked_s=100.0, kubelet="k", settled=True):
    held = tuple(Allocation(resource=GPU, device=d, holder="default/p") for d in devices)
    return Account(
        held=held,
        pods=frozenset({"default/p"}),
        kubelet=kubelet,
        settled=settled,
        asked_s=asked_s,
    )


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def grants(clock):
    return NicGrants(lambda: clock[0])


def give(grants, folder, *devices, nic="mlx5_0"):
    return grants.grant(folder, document(*devices, nics=[nic]), [nic])


def test_nics_are_taken_until_the_kubelet_lists_their_gpus_no_more(grants, tmp_path):
    path = give(grants, tmp_path, "a", "b")
    assert json.loads(path.read_text())["devices"] == ["a", "b"]

    grants.confirmed(account("a", "b"))
    assert grants.taken() == {"mlx5_0": 1}

    grants.confirmed(account("b"))
    assert grants.taken() == {}
    assert not path.exists()


def test_an_answer_older_than_a_grant_does_not_end_it(grants, tmp_path):
    give(grants, tmp_path, "a")
    grants.confirmed(account("a", asked_s=1))
    give(grants, tmp_path, "b")

    grants.confirmed(account("a", asked_s=-1))

    assert grants.taken() == {"mlx5_0": 2}


@pytest.mark.parametrize("settled", [False, True])
def test_another_kubelet_that_never_listed_them_is_not_believed_at_once(grants, tmp_path, settled):
    path = give(grants, tmp_path, "a")
    grants.confirmed(account("a", kubelet="first"))

    grants.confirmed(account(kubelet="second", settled=settled, asked_s=UNTOLD_S - 1))

    assert grants.taken() == {"mlx5_0": 1}
    assert path.exists()
    grants.confirmed(account(kubelet="second", settled=settled, asked_s=UNTOLD_S + 1))
    assert grants.taken() == ({} if settled else {"mlx5_0": 1})
    assert path.exists() is not settled


def test_the_file_of_an_init_container_stays_until_the_pod_has_ended(grants, tmp_path):
    # The kubelet allocates for both containers before it starts the first.
    of_init = give(grants, tmp_path, "a")
    of_main = give(grants, tmp_path, "a", "b", nic="mlx5_1")

    assert grants.taken() == {"mlx5_1": 1}
    grants.confirmed(account("a", "b"))
    assert of_init.exists()
    assert of_main.exists()
    grants.confirmed(account())
    assert [*tmp_path.iterdir()] == []


def test_gpus_that_are_given_again_end_what_was_taken_with_them(grants, tmp_path):
    give(grants, tmp_path, "a", "b")

    assert grants.taken(besides={"b"}) == {}
    give(grants, tmp_path, "b", nic="mlx5_1")

    assert grants.taken() == {"mlx5_1": 1}


def test_a_new_instance_knows_what_was_granted(grants, tmp_path, clock):
    give(grants, tmp_path, "a")
    (tmp_path / "broken.json").write_text("{")
    fresh = NicGrants(lambda: clock[0])
    fresh.load(tmp_path)

    assert fresh.taken() == {"mlx5_0": 1}
    fresh.confirmed(account("a"))
    fresh.confirmed(account())
    assert [path.name for path in tmp_path.iterdir()] == ["broken.json"]


def test_what_a_runtime_made_of_a_missing_file_is_replaced(grants, tmp_path):
    path = give(grants, tmp_path, "a")
    path.unlink()
    path.mkdir()

    assert give(grants, tmp_path, "a").is_file()


def test_nothing_half_written_is_left(grants, tmp_path):
    folder = tmp_path / "folder"
    folder.write_text("in the way")

    with pytest.raises(OSError, match="folder"):
        give(grants, folder, "a")

    assert grants.taken() == {"mlx5_0": 1}
    assert [*tmp_path.iterdir()] == [folder]
