"""Pods get GPUs: what the kubelet counts, what the container sees, what is told of it."""

import pytest
from testbed.pods import GPU, container

CONTROL = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"}


def gpu_nodes(cluster, uuids):
    index = cluster.machine.uuids.index
    return {f"/dev/nvidia{index(uuid)}" for uuid in uuids}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_pod_runs_with_exactly_the_gpus_it_was_given(cluster, count):
    cluster.serve("--device-list-strategy=cdi-cri")

    pod = cluster.pod(f"gpus-{count}", gpus=count).wait_running()

    held = pod.held()
    assert len(held) == count
    assert set(held) <= set(cluster.machine.uuids)
    assert pod.inside().nvidia_devices == gpu_nodes(cluster, held) | CONTROL


def test_a_pod_that_asks_for_more_than_there_is_stays_pending(cluster):
    cluster.serve()

    message = cluster.pod("nine", gpus=9).wait_unschedulable()

    assert f"Insufficient {GPU}" in message


def test_the_gpus_of_a_finished_pod_are_given_again(cluster):
    cluster.serve()
    cluster.pod("done", container(gpus=8, command=["/bin/true"])).wait_done()

    second = cluster.pod("second", gpus=8).wait_running()

    assert second.held() == sorted(cluster.machine.uuids)


STRATEGIES = ["envvar", "volume-mounts", "cdi-annotations", "cdi-cri"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_device_list_strategy_reaches_the_container(cluster, strategy):
    cluster.serve(f"--device-list-strategy={strategy}")

    pod = cluster.pod(strategy, gpus=2).wait_running()

    held, inside = pod.held(), pod.inside()
    listed = {f"/var/run/nvidia-container-devices/{uuid}" for uuid in held}
    in_order = [uuid for uuid in cluster.machine.uuids if uuid in held]
    told = {
        "envvar": (",".join(in_order), set(), set()),
        "volume-mounts": ("/var/run/nvidia-container-devices", set(), listed),
        "cdi-annotations": ("void", gpu_nodes(cluster, held) | CONTROL, set()),
        "cdi-cri": ("void", gpu_nodes(cluster, held) | CONTROL, set()),
    }[strategy]
    mounted = {m for m in inside.mounts if m.startswith("/var/run/nvidia-container-devices")}
    assert (inside.env["NVIDIA_VISIBLE_DEVICES"], inside.nvidia_devices, mounted) == told


@pytest.mark.parametrize("strategy", ["envvar", "cdi-cri"])
def test_device_nodes_are_the_drivers_and_may_be_opened(cluster, strategy):
    cluster.serve(f"--device-list-strategy={strategy}", "--pass-device-specs")

    pod = cluster.pod("nodes", gpus=1).wait_running()

    (held,) = pod.held()
    index, inside = cluster.machine.uuids.index(held), pod.inside()
    node = inside.devices[f"/dev/nvidia{index}"]
    # Major 195 is the driver's, its minors count GPUs and end with the control devices.
    assert (node.kind, node.major, node.minor) == ("c", 195, index)
    assert f"c 195:{index} rw" in {rule.replace("rwm", "rw") for rule in inside.allowed_devices}
    others = {f"c 195:{other}" for other in range(8) if other != index}
    assert not any(
        rule.startswith(f"{other} ") for rule in inside.allowed_devices for other in others
    )


def test_containers_of_one_pod_get_gpus_of_their_own(cluster):
    cluster.serve("--device-list-strategy=cdi-cri")

    pod = cluster.pod("two", container("a", gpus=3), container("b", gpus=2)).wait_running()

    a, b = pod.held("a"), pod.held("b")
    assert (len(a), len(b), len({*a, *b})) == (3, 2, 5)
    assert pod.inside("a").nvidia_devices == gpu_nodes(cluster, a) | CONTROL
    assert pod.inside("b").nvidia_devices == gpu_nodes(cluster, b) | CONTROL


def test_a_container_without_gpus_gets_nothing_of_them(cluster):
    cluster.serve("--device-list-strategy=cdi-cri,volume-mounts")

    pod = cluster.pod("mixed", container("with", gpus=1), container("without")).wait_running()

    without = pod.inside("without")
    assert without.nvidia_devices == set()
    assert "NVIDIA_VISIBLE_DEVICES" not in without.env
    assert pod.held("without") == []


def test_gpus_of_two_pods_never_overlap(cluster):
    cluster.serve()

    pods = [cluster.pod(f"of-{n}", gpus=2) for n in range(4)]

    held = [uuid for pod in pods for uuid in pod.wait_running().held()]
    assert sorted(held) == sorted(cluster.machine.uuids)
