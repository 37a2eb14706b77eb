"""GPUs that pods share, by turns and through MPS, on a real node."""

import os
import signal
import time
from types import SimpleNamespace

import mps_node as mps
import pytest
import yaml

GPU, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"


def config(*, shared, how="timeSlicing", **flags):
    entries = {
        "renameByDefault": True,
        "resources": [{"name": "gpu", "replicas": 4, "devices": [6, 7]}],
    }
    return yaml.safe_dump(
        {"version": "v1", "flags": flags, **({"sharing": {how: entries}} if shared else {})}
    )


def test_eight_pods_share_two_gpus_while_others_get_whole_ones(cluster):
    cluster.serve(config=config(shared=True), offers={GPU: 6, SHARED: 8})

    turns = [cluster.pod(f"turn-{n}", resources={SHARED: 1}) for n in range(8)]
    whole = cluster.pod("whole", gpus=6)
    for pod in (*turns, whole):
        pod.wait_running()

    assert sorted(whole.held()) == sorted(cluster.machine.uuids[:6])
    held = [pod.held(resource=SHARED)[0] for pod in turns]
    assert len(set(held)) == 8
    for pod, share in zip(turns, held, strict=True):
        uuid = share.partition("::")[0]
        assert uuid in cluster.machine.uuids[6:]
        assert pod.inside().env["NVIDIA_VISIBLE_DEVICES"] == uuid


def test_sharing_ends_by_configuration_while_pods_run(cluster):
    cluster.serve(config=config(shared=True), offers={GPU: 6, SHARED: 8})
    turn = cluster.pod("turn", resources={SHARED: 1}).wait_running()
    whole = cluster.pod("whole", gpus=1).wait_running()
    before = [pod.inside().sight for pod in (turn, whole)]
    gpu = turn.held(resource=SHARED)[0].partition("::")[0]

    cluster.agent.configure(config(shared=False))
    # All but the one of which a pod has a share.
    cluster.node.wait_allocatable(GPU, 7)
    others = cluster.pod("others", gpus=6).wait_running()

    assert [pod.inside().sight for pod in (turn, whole)] == before
    assert gpu not in others.held()
    turn.delete()
    cluster.node.wait_allocatable(GPU, 8)


def inside_gpu(pod):
    """What the folders of a pod's GPU are called."""
    (share,) = pod.held(resource=SHARED)
    return share.removeprefix("GPU-").partition("-")[0]


@pytest.mark.parametrize("strategy", ["envvar", "cdi-cri"])
def test_pods_compute_through_mps_whatever_becomes_of_the_agent(cluster, strategy):
    node = SimpleNamespace(machine=cluster.machine.folder)
    # What a kubelet says that has just started is not taken for the whole truth for a while.
    socket = cluster.node_side.kubelet_dir / "pod-resources" / "kubelet.sock"
    long_ago = time.time() - 3600
    os.utime(socket, (long_ago, long_ago))
    shared = {"how": "mps", "plugin": {"deviceListStrategy": strategy}}
    cluster.serve(config=config(shared=True, **shared), offers={GPU: 6, SHARED: 8})
    before = {pipe: each.pid for pipe, each in mps.daemons(node).items()}
    assert len(before) == 2
    assert mps.compute_modes(node)[6:] == ["exclusive-process"] * 2

    pods = [cluster.pod(f"client-{n}", resources={SHARED: 1}) for n in range(3)]
    for pod in pods:
        inside = pod.wait_running().inside()
        assert inside.env["CUDA_MPS_PIPE_DIRECTORY"] == f"/mps/{SHARED}/pipe"
        assert inside.env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"
        # The daemon's pid is what it wrote beside its socket: of its own namespace.
        assert inside.read(f"/mps/{SHARED}/pipe/nvidia-cuda-mps-control.pid").strip().isdecimal()
        # What a daemon keeps in its shared memory, its clients see.
        gpu = inside_gpu(pod)
        shared_memory = cluster.machine.folder / "dev/shm/plumbline-mps" / SHARED / gpu
        (shared_memory / "marker").write_text(gpu)
        assert inside.read("/dev/shm/marker") == gpu
    seen = [pod.inside().sight for pod in pods]

    cluster.agent.restart(signal.SIGKILL)
    cluster.node.wait_allocatable(SHARED, 8, timeout_s=60)
    assert {pipe: each.pid for pipe, each in mps.daemons(node).items()} == before

    cluster.agent.configure(config(shared=False))
    cluster.node.wait_allocatable(GPU, 6, timeout_s=60)
    assert {pipe: each.pid for pipe, each in mps.daemons(node).items()} == before
    assert [pod.inside().sight for pod in pods] == seen

    for pod in pods:
        pod.delete()
    cluster.node.wait_allocatable(GPU, 8, timeout_s=60)
    assert not mps.processes(node)
    assert set(mps.compute_modes(node)) == {"default"}
