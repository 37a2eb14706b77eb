"""GPUs that pods share by taking turns, on a real node."""

import yaml

GPU, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"


def config(*, shared):
    slicing = {
        "renameByDefault": True,
        "resources": [{"name": "gpu", "replicas": 4, "devices": [6, 7]}],
    }
    return yaml.safe_dump(
        {"version": "v1", **({"sharing": {"timeSlicing": slicing}} if shared else {})}
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
