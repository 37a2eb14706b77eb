"""What a container is told of its GPUs, strategy by strategy and in combination."""

import msgspec
import pytest

from agent.config.flags import resolve
from agent.config.schema import DeviceListStrategy, Flags
from agent.model.errors import HardwareError
from agent.planning.cdi import CdiClass
from agent.planning.device_list import DeviceNode, Mount, Offer, list_devices
from tests.support.builders import gpu

CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm")
KIND = "k8s.device-plugin.nvidia.com"
ID = "9b2e5f0c-3c1c-4f3e-8a56-6f2b8d5d1e11"


def flags(*argv):
    return resolve(argv, {}).config.flags


def answer(*argv, gpus=None, classes=()):
    return list_devices(
        [gpu(0), gpu(1)] if gpus is None else gpus,
        flags(*argv),
        Offer(control_nodes=CONTROL, cdi_classes=classes),
        request_id=lambda: ID,
    )


def test_envvar_names_the_gpus_in_the_environment():
    said = answer()

    assert said.envs == {"NVIDIA_VISIBLE_DEVICES": "GPU-0,GPU-1"}
    assert (said.mounts, said.device_nodes, said.annotations, said.cdi_devices) == ((), (), {}, ())


def test_volume_mounts_names_them_by_mounts_of_nothing():
    said = answer("--device-list-strategy=volume-mounts")

    assert said.envs == {"NVIDIA_VISIBLE_DEVICES": "/var/run/nvidia-container-devices"}
    assert said.mounts == tuple(
        Mount(
            container_path=f"/var/run/nvidia-container-devices/GPU-{i}",
            host_path="/dev/null",
            read_only=False,
        )
        for i in (0, 1)
    )


def test_both_leave_the_environment_to_a_runtime_that_reads_no_mounts():
    said = answer("--device-list-strategy=volume-mounts,envvar")

    assert said.envs == {"NVIDIA_VISIBLE_DEVICES": "GPU-0,GPU-1"}
    assert len(said.mounts) == 2


def test_cdi_cri_names_devices_of_our_specification():
    said = answer("--device-list-strategy=cdi-cri")

    assert said.cdi_devices == (f"{KIND}/gpu=GPU-0", f"{KIND}/gpu=GPU-1")
    assert (said.envs, said.mounts, said.device_nodes, said.annotations) == ({}, (), (), {})


def test_cdi_annotations_names_them_in_one_annotation():
    said = answer("--device-list-strategy=cdi-annotations")
    custom = answer("--device-list-strategy=cdi-annotations", "--cdi-annotation-prefix=my.io/")

    assert said.annotations == {
        f"cdi.k8s.io/nvidia-device-plugin_{ID}": f"{KIND}/gpu=GPU-0,{KIND}/gpu=GPU-1"
    }
    assert set(custom.annotations) == {f"my.io/nvidia-device-plugin_{ID}"}
    assert said.cdi_devices == ()


def test_every_strategy_chosen_says_its_part():
    said = answer("--device-list-strategy=envvar,volume-mounts,cdi-annotations,cdi-cri")

    assert said.envs == {"NVIDIA_VISIBLE_DEVICES": "GPU-0,GPU-1"}
    assert len(said.mounts) == len(said.cdi_devices) == 2
    assert list(said.annotations.values()) == [",".join(said.cdi_devices)]


def test_an_annotation_key_is_within_what_kubernetes_allows():
    [key] = answer(
        "--device-list-strategy=cdi-annotations", "--cdi-annotation-prefix=a.io/prefix"
    ).annotations

    assert len(key.partition("/")[2]) <= 63


def test_device_specs_name_control_nodes_then_gpus_under_the_device_root():
    said = answer("--pass-device-specs", "--dev-root=/run/nvidia/driver")
    by_driver_root = answer("--pass-device-specs", "--driver-root=/run/nvidia/driver")
    plain = answer("--pass-device-specs", gpus=[gpu(0, minor=4)])

    assert said.device_nodes == tuple(
        DeviceNode(container_path=path, host_path="/run/nvidia/driver" + path)
        for path in ("/dev/nvidia-uvm", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia1")
    )
    assert by_driver_root.device_nodes == said.device_nodes
    assert plain.device_nodes[-1] == DeviceNode(
        container_path="/dev/nvidia4", host_path="/dev/nvidia4", permissions="rw"
    )


def test_device_specs_are_left_to_cdi_when_nothing_else_is_chosen():
    def count(strategies):
        said = answer("--pass-device-specs", f"--device-list-strategy={strategies}")
        return len(said.device_nodes)

    assert count("cdi-cri,cdi-annotations") == 0
    assert count("cdi-cri,envvar") == 4


def test_a_gpu_named_twice_counts_once_and_order_is_that_of_the_node():
    replicas = [gpu(2), gpu(0), gpu(2), gpu(10)]

    assert answer(gpus=replicas).envs["NVIDIA_VISIBLE_DEVICES"] == "GPU-0,GPU-2,GPU-10"
    assert answer("--device-id-strategy=index", gpus=replicas).envs == {
        "NVIDIA_VISIBLE_DEVICES": "0,2,10"
    }
    assert len(answer("--pass-device-specs", gpus=replicas).device_nodes) == len(CONTROL) + 3


def test_indices_are_used_everywhere_when_asked_for():
    said = answer(
        "--device-id-strategy=index", "--device-list-strategy=cdi-cri,volume-mounts", gpus=[gpu(5)]
    )

    assert said.cdi_devices == (f"{KIND}/gpu=5",)
    assert said.mounts[0].container_path.endswith("/5")


@pytest.mark.parametrize("strategy", DeviceListStrategy)
def test_extras_are_enabled_in_the_environment_in_every_strategy(strategy):
    said = answer(
        f"--device-list-strategy={strategy}",
        "--gds-enabled",
        "--mofed-enabled",
        "--gdrcopy-enabled",
    )

    extras = {name: value for name, value in said.envs.items() if name != "NVIDIA_VISIBLE_DEVICES"}
    assert extras == {
        "NVIDIA_GDS": "enabled",
        "NVIDIA_MOFED": "enabled",
        "NVIDIA_GDRCOPY": "enabled",
    }


def test_extras_are_cdi_devices_where_their_specification_exists():
    said = answer(
        "--device-list-strategy=cdi-cri",
        "--gds-enabled",
        "--mofed-enabled",
        classes=(CdiClass.GDS, CdiClass.GDRCOPY),
    )

    assert said.cdi_devices[2:] == (f"{KIND}/gds=all",)


def test_no_gpus_no_list():
    said = answer(
        "--device-list-strategy=envvar,volume-mounts,cdi-cri,cdi-annotations",
        "--pass-device-specs",
        "--gds-enabled",
        gpus=[],
        classes=(CdiClass.GDS,),
    )

    assert said.envs["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert (said.mounts, said.device_nodes, said.annotations, said.cdi_devices) == ((), (), {}, ())


@pytest.mark.parametrize("argv", [["--pass-device-specs"], ["--device-list-strategy=cdi-cri"]])
def test_a_gpu_without_a_device_node_cannot_be_given_by_one(argv):
    with pytest.raises(HardwareError, match="GPU GPU-3 has no device node"):
        answer(*argv, gpus=[gpu(0), gpu(3, minor=None)])


def test_a_gpu_without_a_device_node_can_still_be_named():
    assert answer(gpus=[gpu(3, minor=None)]).envs == {"NVIDIA_VISIBLE_DEVICES": "GPU-3"}


def test_it_takes_no_more_than_the_flags_and_changes_none():
    before = flags("--gds-enabled")
    copy = msgspec.structs.replace(before)

    list_devices([gpu(0)], before, Offer(control_nodes=()), request_id=lambda: ID)

    assert before == copy != Flags()
