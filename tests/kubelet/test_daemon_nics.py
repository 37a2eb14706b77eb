"""NICs beside its GPUs for every pod, where the configuration says so."""

import json
from pathlib import Path

import pytest
from daemon_process import GPU, changed, simulated_node

from deviceplugin.standin.pods import Container, Pod

NICS = "--nics-enabled"
# Two NICs, each beside two of eight GPUs.
HGX = Path(__file__).parents[1] / "machines" / "hgx-a100-2nic-asym.txt"


async def admit(node, name, count):
    pod = Pod(name=name, containers=(Container(name="main", requests={GPU: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, allocated.allocation


def summary(allocation):
    (mount,) = (m for m in allocation.mounts if m.container_path == "/run/plumbline/topology.json")
    assert mount.read_only
    return json.loads(Path(mount.host_path).read_text())


def verbs(allocation):
    return [d.container_path for d in allocation.device_nodes if "uverbs" in d.container_path]


async def test_without_the_setting_nothing_is_given():
    async with simulated_node("dgx-a100") as node:
        await node.serving()
        _, allocation = await admit(node, "plain", 2)

    assert "NCCL_IB_HCA" not in allocation.envs
    assert (verbs(allocation), allocation.mounts) == ([], ())


@pytest.mark.parametrize("strategy", ["envvar", "volume-mounts", "cdi-annotations", "cdi-cri"])
async def test_a_pod_gets_the_nics_on_the_switch_of_its_gpus(strategy):
    async with simulated_node("dgx-a100") as node:
        await node.serving(NICS, "--device-list-strategy", strategy)
        _, allocation = await admit(node, "trainer", 2)
        told = summary(allocation)

        assert allocation.envs["NCCL_IB_HCA"] == "=mlx5_0,mlx5_1"
        assert allocation.envs["PLUMBLINE_TOPOLOGY"] == "/run/plumbline/topology.json"
        nodes = {d.container_path: d for d in allocation.device_nodes}
        there = {str(path) for path in node.machine.glob("dev/infiniband/*")}
        for path in (*verbs(allocation), "/dev/infiniband/rdma_cm"):
            assert nodes[path].host_path in there
            assert nodes[path].permissions == "rw"
    assert verbs(allocation) == ["/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1"]
    assert [g["index"] for g in told["gpus"]] == [0, 1]
    assert [(r["nic"], r["distance"], r["shared_with"]) for r in told["rails"]] == [
        ("mlx5_0", "PXB", 0),
        ("mlx5_1", "PXB", 0),
    ]
    assert told["missing_rails"] == []
    assert [(p["path"], p["gbps"]) for p in told["pairs"]] == [("NV12", 300)]


async def test_pods_get_different_nics_also_from_an_agent_that_starts_later():
    async with simulated_node("dgx-a100") as node:
        first = await node.serving(NICS)
        _, one = await admit(node, "one", 1)
        await node.stop(first)
        await node.serving(NICS)
        _, two = await admit(node, "two", 1)

    assert one.envs["NCCL_IB_HCA"] == "=mlx5_0"
    assert two.envs["NCCL_IB_HCA"] == "=mlx5_1"


async def test_a_nic_is_free_again_when_its_pod_has_ended():
    async with simulated_node("dgx-a100") as node:
        await node.serving(NICS)
        pod, one = await admit(node, "one", 4)
        (mount,) = one.mounts
        await node.logged("allocated_to")
        await node.kubelet.remove_pod(pod)
        _, again = await admit(node, "again", 1)
        file = Path(mount.host_path)
        await changed(file.parent, lambda: not file.exists())

    assert one.envs["NCCL_IB_HCA"].startswith("=mlx5_0,")
    assert again.envs["NCCL_IB_HCA"] == "=mlx5_0"


async def test_the_summary_of_an_init_container_outlives_the_allocation_of_the_next():
    async with simulated_node("dgx-a100") as node:
        await node.serving(NICS)
        pod = Pod(
            name="p",
            init_containers=(Container(name="init", requests={GPU: 1}),),
            containers=(Container(name="main", requests={GPU: 2}),),
        )
        answers = await node.kubelet.admit(pod)

        assert [len(summary(each.allocation)["gpus"]) for each in answers] == [1, 2]


@pytest.mark.parametrize(
    ("shared", "hca", "told"),
    [
        ("true", "=mlx5_0", []),
        ("false", None, ["other containers have mlx5_0, and nics.shared is false"]),
    ],
)
async def test_a_pod_for_which_no_nic_is_left_is_told(shared, hca, told):
    async with simulated_node(HGX) as node:
        await node.serving(NICS, "--nics-shared", shared)
        hcas = [(await admit(node, name, 1))[1].envs["NCCL_IB_HCA"] for name in ("a", "b")]
        _, third = await admit(node, "c", 1)
        found = summary(third)

    assert sorted(hcas) == ["=mlx5_0", "=mlx5_1"]
    assert third.envs.get("NCCL_IB_HCA") == hca
    assert [rail["shared_with"] for rail in found["rails"]] == ([1] if hca else [])
    assert [missing["reason"] for missing in found["missing_rails"]] == told
