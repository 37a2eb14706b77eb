"""What a container is told so that it computes through MPS, under every device list strategy."""

import pytest
from builders import gpu

from agent.config.schema import DeviceListStrategy, Flags, PluginFlags
from agent.model.errors import HardwareError
from agent.planning.device_list import Offer, list_devices
from agent.planning.mps import Limits, MpsSet, Served, rendezvous_of
from agent.planning.mps_clients import client_of
from agent.planning.shared_device import SharedDevice

RESOURCE = "nvidia.com/gpu.shared"
PIPE = f"/mps/{RESOURCE}/pipe"
CDI = "k8s.device-plugin.nvidia.com"
EQUAL = Limits(memory_mib=256, threads_percent=25)


def served(*groups):
    rendezvous = {}
    for numbers in groups:
        gpus = tuple(f"GPU-{n}" for n in numbers)
        own = MpsSet(name="-".join(gpus), resource=RESOURCE, gpus=gpus, limits=(EQUAL,) * len(gpus))
        rendezvous |= dict.fromkeys(gpus, rendezvous_of(own, "/run/mps", "/dev/shm/mps"))
    return Served(rendezvous=rendezvous)


def shares(weights=(1, 1, 1, 1)):
    return {
        f"GPU-{n}": SharedDevice(
            path="sharing.mps.resources[0]", resource=RESOURCE, replicas=4, weights=weights
        )
        for n in range(4)
    }


def client(*ids, weights=(1, 1, 1, 1), groups=((0, 1), (2,))):
    gpus = [gpu(int(id_[4])) for id_ in ids]
    return client_of(ids, gpus, shares(weights), served(*groups))


def told(strategies, *ids):
    flags = Flags(plugin=PluginFlags(device_list_strategy=strategies))
    return list_devices(
        [gpu(int(id_[4])) for id_ in ids],
        flags,
        Offer(control_nodes=()),
        request_id=lambda: "r",
        client=client(*ids),
    )


ENVVAR, VOLUMES = DeviceListStrategy.ENVVAR, DeviceListStrategy.VOLUME_MOUNTS
ANNOTATIONS, CRI = DeviceListStrategy.CDI_ANNOTATIONS, DeviceListStrategy.CDI_CRI


@pytest.mark.parametrize(
    ("strategies", "by_cdi"),
    [
        ((ENVVAR,), False),
        ((VOLUMES,), False),
        ((ENVVAR, CRI), False),
        ((ANNOTATIONS,), True),
        ((CRI,), True),
        ((ANNOTATIONS, CRI), True),
    ],
)
def test_a_container_finds_its_daemon_once_under_every_strategy(strategies, by_cdi):
    answer = told(strategies, "GPU-1::0", "GPU-1::3", "GPU-0::2")

    assert answer.envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=256M,1=256M"
    assert answer.envs["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"
    mounts = {each.container_path: each.host_path for each in answer.mounts}
    rendezvous = {PIPE: "/run/mps/GPU-0-GPU-1/pipe", "/dev/shm": "/dev/shm/mps/GPU-0-GPU-1"}
    names = (f"{CDI}/gpu=GPU-0", f"{CDI}/gpu=GPU-1", f"{CDI}/mps=GPU-0")
    if by_cdi:
        assert "CUDA_MPS_PIPE_DIRECTORY" not in answer.envs
        assert not mounts
        assert answer.cdi_devices == (names if CRI in strategies else ())
        listed = ",".join(names)
        assert list(answer.annotations.values()) == [listed] * (ANNOTATIONS in strategies)
    else:
        assert answer.envs["CUDA_MPS_PIPE_DIRECTORY"] == PIPE
        assert rendezvous.items() <= mounts.items()
        assert not any("/mps=" in each for each in answer.cdi_devices)


def test_several_replicas_of_a_gpu_count_as_the_largest_and_threads_as_the_smallest():
    found = client("GPU-0::3", "GPU-0::0", "GPU-1::3", weights=(5, 3, 1, 1))

    assert found.limits == {
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=512M,1=102M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "10",
    }


def test_gpus_of_two_daemons_are_not_given_together():
    with pytest.raises(HardwareError, match="no MPS daemon serves GPU-1, GPU-2 together"):
        client("GPU-1::0", "GPU-2::0")


def test_a_container_without_mps_is_told_nothing_of_it():
    assert client_of(["GPU-0"], [gpu(0)], {}, Served()) is None
