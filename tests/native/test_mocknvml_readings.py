"""What a simulated GPU measures, and the modes it can be put in."""

import ctypes

import pytest
from mig_descriptions import mig_profiles

CHANGES = {
    "gpu 0 memory_reserved_bytes": "600000000",
    "gpu 0 memory_used_bytes": "1000",
    "gpu 0 bar1_total_bytes": "137438953472",
    "gpu 0 bar1_used_bytes": "4096",
    "gpu 0 utilization_gpu_percent": "97",
    "gpu 0 utilization_memory_percent": "41",
    "gpu 0 power_usage_mw": "71234",
    "gpu 0 power_limit_mw": "650000",
    "gpu 0 power_default_limit_mw": "700000",
    "gpu 0 power_min_limit_mw": "200000",
    "gpu 0 power_max_limit_mw": "700000",
    "gpu 0 temperature_gpu_c": "34",
    "gpu 0 clock_graphics_mhz": "345",
    "gpu 0 clock_memory_mhz": "2619",
    "gpu 0 clock_max_graphics_mhz": "1980",
    "gpu 0 clock_max_sm_mhz": "1980",
    "gpu 0 clock_max_memory_mhz": "2619",
    "gpu 0 performance_state": "2",
    "gpu 0 pcie_max_generation": "5",
    "gpu 0 pcie_device_max_generation": "6",
    "gpu 0 pcie_current_generation": "3",
    "gpu 0 pcie_current_width": "8",
    "gpu 1 architecture": "volta",
    "gpu 1 ecc_mode": None,
    "gpu 1 mig_mode": None,
}


@pytest.fixture
def made(machine):
    return machine(changes=CHANGES | mig_profiles(0))


@pytest.fixture
def nvml(made):
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    return pynvml


@pytest.fixture
def first(nvml):
    return nvml.nvmlDeviceGetHandleByIndex(0)


@pytest.fixture
def second(nvml):
    return nvml.nvmlDeviceGetHandleByIndex(1)


def test_memory_is_counted_as_each_version_counts_it(nvml, first):
    old = nvml.nvmlDeviceGetMemoryInfo(first)
    assert (old.total, old.used) == (80 << 30, 600001000)
    new = nvml.nvmlDeviceGetMemoryInfo(first, nvml.nvmlMemory_v2)
    assert (new.total, new.reserved, new.used) == (80 << 30, 600000000, 1000)
    assert old.free == new.free == (80 << 30) - 600001000
    bar1 = nvml.nvmlDeviceGetBAR1MemoryInfo(first)
    assert (bar1.bar1Total, bar1.bar1Used) == (137438953472, 4096)
    assert bar1.bar1Free == 137438953472 - 4096


def test_utilisation_belongs_to_instances_once_mig_is_on(made, nvml, first):
    rates = nvml.nvmlDeviceGetUtilizationRates(first)
    assert (rates.gpu, rates.memory) == (97, 41)
    made.command("set gpu 0 mig_mode on")
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetUtilizationRates(first)


def test_power(nvml, first):
    assert nvml.nvmlDeviceGetPowerUsage(first) == 71234
    assert nvml.nvmlDeviceGetPowerManagementLimit(first) == 650000
    assert nvml.nvmlDeviceGetEnforcedPowerLimit(first) == 650000
    assert nvml.nvmlDeviceGetPowerManagementDefaultLimit(first) == 700000
    assert nvml.nvmlDeviceGetPowerManagementLimitConstraints(first) == [200000, 700000]
    nvml.nvmlDeviceSetPowerManagementLimit(first, 300000)
    assert nvml.nvmlDeviceGetPowerManagementLimit(first) == 300000
    for limit in (199999, 700001):
        with pytest.raises(nvml.NVMLError_InvalidArgument):
            nvml.nvmlDeviceSetPowerManagementLimit(first, limit)
    nvml.nvmlDeviceSetPowerManagementLimit_v2(first, nvml.NVML_POWER_SCOPE_GPU, 400000)
    asked = [nvml.NVML_FI_DEV_POWER_INSTANT, nvml.NVML_FI_DEV_POWER_CURRENT_LIMIT]
    values = nvml.nvmlDeviceGetFieldValues(first, asked)
    assert [value.value.uiVal for value in values] == [71234, 400000]


def test_temperatures(nvml, first):
    assert nvml.nvmlDeviceGetTemperature(first, nvml.NVML_TEMPERATURE_GPU) == 34
    assert nvml.nvmlDeviceGetTemperatureV(first, nvml.NVML_TEMPERATURE_GPU) == 34
    kinds = ("SHUTDOWN", "SLOWDOWN", "GPU_MAX")
    read = nvml.nvmlDeviceGetTemperatureThreshold
    found = [read(first, getattr(nvml, f"NVML_TEMPERATURE_THRESHOLD_{kind}")) for kind in kinds]
    assert found == [95, 90, 87]
    with pytest.raises(nvml.NVMLError_NotSupported):
        read(first, nvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX)
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        read(first, nvml.NVML_TEMPERATURE_THRESHOLD_COUNT)


def test_clocks(nvml, first):
    assert nvml.nvmlDeviceGetClockInfo(first, nvml.NVML_CLOCK_GRAPHICS) == 345
    assert nvml.nvmlDeviceGetClockInfo(first, nvml.NVML_CLOCK_SM) == 0
    assert nvml.nvmlDeviceGetMaxClockInfo(first, nvml.NVML_CLOCK_SM) == 1980
    now, top = nvml.NVML_CLOCK_ID_CURRENT, nvml.NVML_CLOCK_ID_CUSTOMER_BOOST_MAX
    assert nvml.nvmlDeviceGetClock(first, nvml.NVML_CLOCK_MEM, now) == 2619
    assert nvml.nvmlDeviceGetClock(first, nvml.NVML_CLOCK_GRAPHICS, top) == 1980
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetClockInfo(first, nvml.NVML_CLOCK_VIDEO)
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetClockInfo(first, nvml.NVML_CLOCK_COUNT)
    assert nvml.nvmlDeviceGetPerformanceState(first) == nvml.nvmlDeviceGetPowerState(first) == 2


def test_the_pcie_link_now_and_at_best(nvml, first, second):
    assert nvml.nvmlDeviceGetMaxPcieLinkGeneration(first) == 5
    assert nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration(first) == 6
    assert nvml.nvmlDeviceGetMaxPcieLinkWidth(first) == 16
    assert nvml.nvmlDeviceGetCurrPcieLinkGeneration(first) == 3
    assert nvml.nvmlDeviceGetCurrPcieLinkWidth(first) == 8
    assert nvml.nvmlDeviceGetPcieSpeed(first) == 8000
    assert nvml.nvmlDeviceGetPcieLinkMaxSpeed(first) == nvml.NVML_PCIE_LINK_MAX_SPEED_32000MBPS
    assert nvml.nvmlDeviceGetPcieReplayCounter(first) == 0
    assert nvml.nvmlDeviceGetCurrPcieLinkGeneration(second) == 4


def test_ecc_mode_is_pending_until_a_reset(nvml, first, second):
    assert nvml.nvmlDeviceGetEccMode(first) == [1, 1]
    nvml.nvmlDeviceSetEccMode(first, nvml.NVML_FEATURE_DISABLED)
    assert nvml.nvmlDeviceGetEccMode(first) == [1, 0]
    assert nvml.nvmlDeviceGetDefaultEccMode(first) == [1]
    for call in (nvml.nvmlDeviceGetEccMode, nvml.nvmlDeviceGetDefaultEccMode):
        with pytest.raises(nvml.NVMLError_NotSupported):
            call(second)
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceSetEccMode(first, 2)


def test_ecc_errors_are_counted_and_cleared(made, nvml, first, second):
    made.command("set gpu 0 ecc_errors_corrected 12\nset gpu 0 ecc_errors_uncorrected 3")
    volatile, dram = nvml.NVML_VOLATILE_ECC, nvml.NVML_MEMORY_LOCATION_DRAM
    total, located = nvml.nvmlDeviceGetTotalEccErrors, nvml.nvmlDeviceGetMemoryErrorCounter
    assert [total(first, kind, volatile) for kind in (0, 1)] == [12, 3]
    assert located(first, 1, volatile, dram) == 3
    assert located(first, 1, volatile, nvml.NVML_MEMORY_LOCATION_L2_CACHE) == 0
    assert nvml.nvmlDeviceGetDetailedEccErrors(first, 0, volatile).deviceMemory == 12
    asked = [nvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL, nvml.NVML_FI_DEV_ECC_CURRENT]
    values = nvml.nvmlDeviceGetFieldValues(first, asked)
    assert (values[0].value.ullVal, values[1].value.uiVal) == (3, 1)
    nvml.nvmlDeviceClearEccErrorCounts(first, volatile)
    assert [total(first, kind, volatile) for kind in (0, 1)] == [0, 0]
    with pytest.raises(nvml.NVMLError_NotSupported):
        total(second, 0, volatile)
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        total(first, 2, volatile)


def test_persistence_and_compute_mode_can_be_set(made, nvml, first):
    assert nvml.nvmlDeviceGetPersistenceMode(first) == 1
    nvml.nvmlDeviceSetPersistenceMode(first, 0)
    assert nvml.nvmlDeviceGetPersistenceMode(first) == 0
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceSetPersistenceMode(first, 2)

    assert nvml.nvmlDeviceGetComputeMode(first) == nvml.NVML_COMPUTEMODE_DEFAULT
    nvml.nvmlDeviceSetComputeMode(first, nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
    assert nvml.nvmlDeviceGetComputeMode(first) == nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceSetComputeMode(first, nvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD)
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceSetComputeMode(first, nvml.NVML_COMPUTEMODE_COUNT)
    assert made.described()["gpu 0 compute_mode"] == "exclusive-process"
    assert made.described()["gpu 0 persistence_mode"] == "off"


def test_mig_modes_and_the_absence_of_instances(made, nvml, first, second):
    assert nvml.nvmlDeviceGetMigMode(first) == [0, 0]
    assert nvml.nvmlDeviceGetMaxMigDeviceCount(first) == 0
    made.command("set gpu 0 mig_pending on")
    assert nvml.nvmlDeviceGetMigMode(first) == [0, 1]
    made.command("set gpu 0 mig_mode on")
    assert nvml.nvmlDeviceGetMigMode(first) == [1, 1]
    assert nvml.nvmlDeviceGetMaxMigDeviceCount(first) == 7
    assert not nvml.nvmlDeviceIsMigDeviceHandle(first)
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetMigDeviceHandleByIndex(first, 0)
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetMigMode(second)


def test_bad_memory_is_remapped_or_retired_by_architecture(nvml, first, second):
    assert nvml.nvmlDeviceGetRemappedRows(first) == (0, 0, 0, 0)
    assert nvml.nvmlDeviceGetRetiredPagesPendingStatus(second) == 0
    assert list(nvml.nvmlDeviceGetRetiredPages(second, 0)) == []
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetRetiredPagesPendingStatus(first)
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetRemappedRows(second)


@pytest.mark.parametrize("kind", ["Compute", "Graphics", "MPSCompute"])
@pytest.mark.parametrize("version", ["", "_v2", "_v3"])
def test_no_process_runs_on_a_gpu(nvml, first, kind, version):
    call = getattr(nvml.nvmlLib, f"nvmlDeviceGet{kind}RunningProcesses{version}")
    count, room = ctypes.c_uint(4), (ctypes.c_ubyte * 256)()
    assert call(first, ctypes.byref(count), room) == 0
    assert (count.value, bytes(room)) == (0, bytes(256))
    assert call(first, None, room) == nvml.NVML_ERROR_INVALID_ARGUMENT


def test_there_are_no_units_and_no_excluded_devices(nvml):
    assert nvml.nvmlUnitGetCount() == 0
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlUnitGetHandleByIndex(0)
    assert nvml.nvmlGetExcludedDeviceCount() == 0
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlGetExcludedDeviceInfoByIndex(0)
