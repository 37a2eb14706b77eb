"""NVLink, fabric, platform and chip-to-chip links of a simulated machine."""

import ctypes

import pytest


def opened(made):
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    return pynvml, [
        pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())
    ]


@pytest.fixture
def bridged(machine):
    """Two GPUs joined by one link, each with one more to a switch or a processor."""
    return machine(
        changes={
            "nvlink 0 0 remote_type": "gpu",
            "nvlink 0 0 remote_pci_address": "0000:2b:00.0",
            "nvlink 0 0 version": "4",
            "nvlink 0 0 speed_mbps": "26562",
            "nvlink 1 0 remote_type": "gpu",
            "nvlink 1 0 remote_pci_address": "0000:1b:00.0",
            "nvlink 0 1 remote_type": "switch",
            "nvlink 0 1 remote_pci_address": "0000:05:00.0",
            "nvlink 0 3 state": "down",
            "nvlink 1 1 remote_type": "npu",
            "nvlink 1 1 remote_pci_address": "0004:00:00.1",
        },
    )


def test_links_tell_state_version_and_far_end(bridged):
    nvml, (first, second) = opened(bridged)
    assert [nvml.nvmlDeviceGetNvLinkState(first, link) for link in (0, 1, 3)] == [1, 1, 0]
    assert nvml.nvmlDeviceGetNvLinkVersion(first, 0) == 4
    assert nvml.nvmlDeviceGetNvLinkRemoteDeviceType(first, 0) == nvml.NVML_NVLINK_DEVICE_TYPE_GPU
    assert nvml.nvmlDeviceGetNvLinkRemoteDeviceType(first, 1) == nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH
    kind = nvml.nvmlDeviceGetNvLinkRemoteDeviceType(second, 1)
    assert kind == nvml.NVML_NVLINK_DEVICE_TYPE_IBMNPU
    peer = nvml.nvmlDeviceGetNvLinkRemotePciInfo(first, 0)
    assert (peer.busId, peer.pciDeviceId) == ("00000000:2B:00.0", 0x233010DE)
    switch = nvml.nvmlDeviceGetNvLinkRemotePciInfo(first, 1)
    assert (switch.busId, switch.busIdLegacy) == ("00000000:05:00.0", "0000:05:00.0")
    legacy = nvml.nvmlPciInfo_v2_t()
    call = nvml.nvmlLib.nvmlDeviceGetNvLinkRemotePciInfo
    assert call(first, 0, ctypes.byref(legacy)) == 0
    assert legacy.busId == "0000:2B:00.0"


def test_a_link_to_nowhere_known_gives_the_drivers_sentinel(machine):
    nvml, (first, _) = opened(machine(links=1))
    far = nvml.nvmlDeviceGetNvLinkRemotePciInfo(first, 0)
    assert far.busId == "FFFFFFFF:FFFF:FF.0"
    assert (far.domain, far.bus, far.device) == (0xFFFFFFFF, 0xFFFF, 0xFF)


def test_links_that_are_not_there_are_invalid_and_down_ones_have_no_far_end(bridged):
    nvml, (first, _) = opened(bridged)
    for link in (2, 18, 36, 1000):
        with pytest.raises(nvml.NVMLError_InvalidArgument):
            nvml.nvmlDeviceGetNvLinkState(first, link)
    for call in (nvml.nvmlDeviceGetNvLinkRemotePciInfo, nvml.nvmlDeviceGetNvLinkRemoteDeviceType):
        with pytest.raises(nvml.NVMLError_NotSupported):
            call(first, 3)


def test_a_gpu_without_nvlink_does_not_support_it(machine):
    nvml, (first, _) = opened(machine())
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetNvLinkState(first, 0)
    (count,) = nvml.nvmlDeviceGetFieldValues(first, [nvml.NVML_FI_DEV_NVLINK_LINK_COUNT])
    assert count.nvmlReturn == nvml.NVML_ERROR_NOT_SUPPORTED


def test_capabilities_depend_on_the_far_end(bridged):
    nvml, (first, second) = opened(bridged)

    def able(gpu, link):
        kinds = range(nvml.NVML_NVLINK_CAP_COUNT)
        return [nvml.nvmlDeviceGetNvLinkCapability(gpu, link, kind) for kind in kinds]

    assert able(first, 0) == [1, 0, 1, 0, 0, 1]
    assert able(second, 1) == [0, 1, 0, 1, 0, 1]


def test_error_counters_are_zero(bridged):
    nvml, (first, _) = opened(bridged)
    for counter in range(nvml.NVML_NVLINK_ERROR_COUNT):
        assert nvml.nvmlDeviceGetNvLinkErrorCounter(first, 0, counter) == 0
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetNvLinkErrorCounter(first, 0, 5)


def test_peer_access_over_nvlink_needs_up_links_both_ways(bridged):
    nvml, (first, second) = opened(bridged)

    def nvlink_and_read():
        over = nvml.nvmlDeviceGetP2PStatus(first, second, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
        return over, nvml.nvmlDeviceGetP2PStatus(second, first, 0)

    assert nvlink_and_read() == (nvml.NVML_P2P_STATUS_OK, nvml.NVML_P2P_STATUS_OK)
    bridged.command("set nvlink 1 0 state down")
    assert nvlink_and_read() == (nvml.NVML_P2P_STATUS_NOT_SUPPORTED, nvml.NVML_P2P_STATUS_OK)
    bridged.command("set nvlink 1 0 state up")
    assert nvlink_and_read()[0] == nvml.NVML_P2P_STATUS_OK


def test_peer_access_through_switches_needs_an_up_link_on_each_side(machine):
    made = machine(links=2)
    nvml, (first, second) = opened(made)
    index = nvml.NVML_P2P_CAPS_INDEX_NVLINK
    assert nvml.nvmlDeviceGetP2PStatus(first, second, index) == nvml.NVML_P2P_STATUS_OK
    made.command("set nvlink 0 0 state down\nset nvlink 0 1 state down")
    status = nvml.nvmlDeviceGetP2PStatus(first, second, index)
    assert status == nvml.NVML_P2P_STATUS_NOT_SUPPORTED


def test_field_values_answer_one_by_one(machine):
    made = machine(links=18, changes={"nvlink 0 7 speed_mbps": "50000"})
    made.command("set nvlink 0 17 state down")
    nvml, (first, _) = opened(made)
    asked = [
        nvml.NVML_FI_DEV_NVLINK_LINK_COUNT,
        nvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_L0,
        nvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_L7,
        nvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON,
        nvml.NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT,
        (nvml.NVML_FI_DEV_NVLINK_GET_SPEED, 7),
        (nvml.NVML_FI_DEV_NVLINK_GET_STATE, 17),
        (nvml.NVML_FI_DEV_NVLINK_GET_STATE, 16),
        (nvml.NVML_FI_DEV_NVLINK_GET_VERSION, 3),
    ]
    values = nvml.nvmlDeviceGetFieldValues(first, asked)
    assert [value.nvmlReturn for value in values] == [nvml.NVML_SUCCESS] * len(asked)
    assert {value.valueType for value in values} == {nvml.NVML_VALUE_TYPE_UNSIGNED_INT}
    found = [value.value.uiVal for value in values]
    assert found == [18, 26562, 50000, 26562, 17, 50000, 0, 1, 4]
    assert all(value.timestamp > 1_600_000_000_000_000 for value in values)

    failing = nvml.nvmlDeviceGetFieldValues(
        first,
        [
            (nvml.NVML_FI_DEV_NVLINK_GET_STATE, 18),
            nvml.NVML_FI_DEV_MEMORY_TEMP,
            nvml.NVML_FI_MAX,
            0,
            nvml.NVML_FI_DEV_C2C_LINK_COUNT,
            nvml.NVML_FI_DEV_NVLINK_LINK_COUNT,
        ],
    )
    invalid, unsupported = nvml.NVML_ERROR_INVALID_ARGUMENT, nvml.NVML_ERROR_NOT_SUPPORTED
    codes = [value.nvmlReturn for value in failing]
    assert codes == [invalid, unsupported, invalid, invalid, unsupported, nvml.NVML_SUCCESS]
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetFieldValues(first, [])


def test_chip_to_chip_links(machine):
    changes = {
        "gpu 0 c2c_links": "5",
        "gpu 0 c2c_max_bandwidth_mbps": "44712",
        "gpu 0 numa_node_id": "2",
    }
    nvml, (first, second) = opened(machine(changes=changes))
    asked = [
        nvml.NVML_FI_DEV_C2C_LINK_COUNT,
        (nvml.NVML_FI_DEV_C2C_LINK_GET_STATUS, 4),
        (nvml.NVML_FI_DEV_C2C_LINK_GET_MAX_BW, 0),
        (nvml.NVML_FI_DEV_C2C_LINK_GET_STATUS, 5),
    ]
    values = nvml.nvmlDeviceGetFieldValues(first, asked)
    assert [value.nvmlReturn for value in values] == [0, 0, 0, nvml.NVML_ERROR_INVALID_ARGUMENT]
    assert [value.value.uiVal for value in values][:3] == [5, 1, 44712]
    enabled = [nvml.nvmlDeviceGetC2cModeInfoV(gpu).isC2cEnabled for gpu in (first, second)]
    assert enabled == [1, 0]


def test_fabric_information_in_every_version(machine):
    changes = {
        "gpu 0 fabric_state": "completed",
        "gpu 0 fabric_cluster_uuid": "00112233-4455-6677-8899-aabbccddeeff",
        "gpu 0 fabric_clique_id": "3",
        "gpu 0 fabric_health_mask": "0x2a",
        "gpu 1 architecture": "ampere",
    }
    made = machine(changes=changes)
    nvml, (first, second) = opened(made)
    oldest = nvml.c_nvmlGpuFabricInfo_t()
    nvml.nvmlDeviceGetGpuFabricInfo(first, ctypes.byref(oldest))
    v2, v3 = nvml.c_nvmlGpuFabricInfo_v2_t(), nvml.c_nvmlGpuFabricInfo_v3_t()
    for info in (v2, v3):
        nvml.nvmlDeviceGetGpuFabricInfoV(first, ctypes.byref(info))
        assert info.healthMask == 0x2A
    for info in (oldest, v2, v3):
        assert bytes(info.clusterUuid) == bytes.fromhex("00112233445566778899aabbccddeeff")
        found = (info.status, info.cliqueId, info.state)
        assert found == (nvml.NVML_SUCCESS, 3, nvml.NVML_GPU_FABRIC_STATE_COMPLETED)
    assert v3.healthSummary == nvml.NVML_GPU_FABRIC_HEALTH_SUMMARY_HEALTHY
    for mask, summary in ((0, 0), (0x29, 3), (0x1A, 2), (0x32A, 2)):
        made.command(f"set gpu 0 fabric_health_mask {mask}")
        nvml.nvmlDeviceGetGpuFabricInfoV(first, ctypes.byref(v3))
        assert (v3.healthMask, v3.healthSummary) == (mask, summary)
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetGpuFabricInfo(second, ctypes.byref(oldest))


def test_platform_information_in_both_versions(machine):
    changes = {
        "gpu 0 platform_chassis_serial": "1821325191344",
        "gpu 0 platform_slot_number": "11",
        "gpu 0 platform_tray_index": "3",
        "gpu 0 platform_host_id": "1",
        "gpu 0 platform_peer_type": "2",
        "gpu 0 platform_fabric_guid": "0x4d2f00a1b2c3d4e5",
        "gpu 0 module_id": "4",
    }
    nvml, (first, second) = opened(machine(changes=changes))
    old, new = nvml.c_nvmlPlatformInfo_v1_t(), nvml.c_nvmlPlatformInfo_v2_t()
    for info in (old, new):
        nvml.nvmlDeviceGetPlatformInfo(first, ctypes.byref(info))
        raw = bytes(info)
        assert raw[4:20] == bytes.fromhex("4d2f00a1b2c3d4e5") + bytes(8)
        assert raw[20:36] == b"1821325191344\0\0\0"
        assert list(raw[36:41]) == [11, 3, 1, 2, 4]
    assert new.chassisSerialNumber == "1821325191344"
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetPlatformInfo(second, ctypes.byref(new))
