"""How GPUs of a simulated machine are joined: ancestors, boards, P2P, CPUs, NUMA."""

import ctypes

import pytest

# Two switches of two GPUs, two such sockets: 01 23 | 4.
ANCESTORS = {
    (0, 1): "single",
    (2, 3): "multiple",
    (0, 2): "hostbridge",
    (0, 3): "hostbridge",
    (1, 2): "node",
    (1, 3): "internal",
    **{(a, 4): "system" for a in range(4)},
}
LEVELS = {
    "internal": 0,
    "single": 10,
    "multiple": 20,
    "hostbridge": 30,
    "node": 40,
    "system": 50,
}


@pytest.fixture
def made(machine):
    changes = {f"pair {a} {b} ancestor": word for (a, b), word in ANCESTORS.items()}
    changes |= {f"gpu {i} cpu_affinity": "0-55,112-167" for i in range(4)}
    changes |= {
        "gpu 0 cpu_affinity_socket": "0-111",
        "gpu 0 memory_affinity": "0",
        "gpu 0 memory_affinity_socket": "0-1,70",
        "gpu 4 cpu_affinity": "56-111,1023",
        "gpu 0 numa_node_id": "2",
    }
    return machine(gpus=5, changes=changes)


@pytest.fixture
def nvml(made):
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    return pynvml


def gpus(nvml):
    return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]


def test_every_ordered_pair_has_its_ancestor(nvml):
    handles = gpus(nvml)
    for (a, b), word in ANCESTORS.items():
        for first, second in ((a, b), (b, a)):
            level = nvml.nvmlDeviceGetTopologyCommonAncestor(handles[first], handles[second])
            assert level == LEVELS[word], (first, second)
    assert nvml.nvmlDeviceGetTopologyCommonAncestor(handles[0], handles[0]) == 0


def test_the_nearest_gpus_are_those_at_the_level(nvml):
    handles = gpus(nvml)

    def nearest(index, level):
        found = nvml.nvmlDeviceGetTopologyNearestGpus(handles[index], level)
        return [nvml.nvmlDeviceGetIndex(gpu) for gpu in found]

    assert nearest(0, nvml.NVML_TOPOLOGY_SINGLE) == [1]
    assert nearest(0, nvml.NVML_TOPOLOGY_HOSTBRIDGE) == [2, 3]
    assert nearest(4, nvml.NVML_TOPOLOGY_SYSTEM) == [0, 1, 2, 3]
    assert nearest(4, nvml.NVML_TOPOLOGY_NODE) == []
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nearest(0, 15)


def test_a_list_that_is_too_short_is_an_error_that_tells_the_number(nvml):
    count = ctypes.c_uint(3)
    room = (nvml.c_nvmlDevice_t * 3)()
    call = nvml.nvmlLib.nvmlDeviceGetTopologyNearestGpus
    result = call(gpus(nvml)[4], 50, ctypes.byref(count), room)
    assert (result, count.value) == (nvml.NVML_ERROR_INSUFFICIENT_SIZE, 4)
    assert not any(room)


def test_the_gpus_near_a_cpu_are_found(nvml):
    def near(cpu):
        return [nvml.nvmlDeviceGetIndex(gpu) for gpu in nvml.nvmlSystemGetTopologyGpuSet(cpu)]

    assert near(0) == near(167) == [0, 1, 2, 3]
    assert near(56) == near(1023) == [4]
    assert near(200) == near(5000) == []


def bits(words):
    return [i for i in range(64 * len(words)) if words[i // 64] >> (i % 64) & 1]


def test_cpu_affinity_is_a_set_of_bits_in_either_scope(nvml):
    first, last = gpus(nvml)[0], gpus(nvml)[4]
    node, socket = nvml.NVML_AFFINITY_SCOPE_NODE, nvml.NVML_AFFINITY_SCOPE_SOCKET
    near = [*range(56), *range(112, 168)]
    assert bits(nvml.nvmlDeviceGetCpuAffinity(first, 16)) == near
    assert bits(nvml.nvmlDeviceGetCpuAffinityWithinScope(first, 20, node)) == near
    assert bits(nvml.nvmlDeviceGetCpuAffinityWithinScope(first, 16, socket)) == [*range(112)]
    assert bits(nvml.nvmlDeviceGetCpuAffinity(first, 1)) == [*range(56)]
    assert bits(nvml.nvmlDeviceGetCpuAffinity(last, 16)) == [*range(56, 112), 1023]
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetCpuAffinityWithinScope(first, 16, 2)
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetCpuAffinity(first, 0)


def test_memory_affinity_and_numa_node(nvml):
    first, last = gpus(nvml)[0], gpus(nvml)[4]
    assert bits(nvml.nvmlDeviceGetMemoryAffinity(first, 2, 0)) == [0]
    assert bits(nvml.nvmlDeviceGetMemoryAffinity(first, 2, 1)) == [0, 1, 70]
    assert bits(nvml.nvmlDeviceGetMemoryAffinity(last, 2, 0)) == []
    assert nvml.nvmlDeviceGetNumaNodeId(first) == 2


def test_peer_access_follows_distance_unless_it_is_given(machine):
    changes = {"pair 0 1 ancestor": "hostbridge", "pair 1 2 p2p": "chipset"}
    pynvml = machine(gpus=3, changes=changes).pynvml()
    pynvml.nvmlInit()
    handles = gpus(pynvml)
    indices = [
        pynvml.NVML_P2P_CAPS_INDEX_WRITE,
        pynvml.NVML_P2P_CAPS_INDEX_ATOMICS,
        pynvml.NVML_P2P_CAPS_INDEX_PCI,
        0,  # read: nvidia-ml-py spells this constant as a tuple
    ]

    def status(a, b):
        (found,) = {pynvml.nvmlDeviceGetP2PStatus(handles[a], handles[b], i) for i in indices}
        return found

    assert status(0, 1) == status(1, 0) == pynvml.NVML_P2P_STATUS_OK
    assert status(0, 2) == pynvml.NVML_P2P_STATUS_IOH_TOPOLOGY_NOT_SUPPORTED
    assert status(2, 1) == pynvml.NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED
    nvlink = pynvml.NVML_P2P_CAPS_INDEX_NVLINK
    not_supported = pynvml.NVML_P2P_STATUS_NOT_SUPPORTED
    assert pynvml.nvmlDeviceGetP2PStatus(handles[0], handles[1], nvlink) == not_supported
    for a, b, index in ((0, 0, 0), (0, 1, 5)):
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            pynvml.nvmlDeviceGetP2PStatus(handles[a], handles[b], index)


def test_a_lost_gpu_is_nobodys_neighbour(made, nvml):
    handles = gpus(nvml)
    made.command("lose 1")
    assert nvml.nvmlDeviceGetTopologyNearestGpus(handles[0], nvml.NVML_TOPOLOGY_SINGLE) == []
    assert len(nvml.nvmlSystemGetTopologyGpuSet(0)) == 3
