"""What the simulated driver says a GPU is, through unmodified pynvml."""

import ctypes
import os
from pathlib import Path

import pytest


@pytest.fixture
def nvml(machine):
    made = machine(
        gpus=3,
        changes={
            "system driver_version": "580.65.06",
            "system cuda_version": "13000",
            "gpu 0 brand": "tesla",
            "gpu 0 serial": "1654923000123",
            "gpu 0 board_part_number": "692-2G520-0280-501",
            "gpu 0 vbios_version": "96.00.A5.00.01",
            "gpu 0 module_id": "4",
            "gpu 0 pci_subsystem_id": "0x16c110de",
            "gpu 0 gpu_cores": "16896",
            "gpu 0 memory_bus_width_bits": "5120",
            "gpu 1 minor": "7",
            "gpu 1 pci_address": "0001:a0:01.0",
            "gpu 2 board_id": "6912",
            "gpu 2 architecture": None,
            "gpu 2 brand": None,
        },
    )
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    return pynvml


def gpu(nvml, index=0):
    return nvml.nvmlDeviceGetHandleByIndex(index)


def test_the_driver_tells_its_versions(nvml):
    assert nvml.nvmlSystemGetDriverVersion() == "580.65.06"
    assert nvml.nvmlSystemGetNVMLVersion() == "12.580.65.06"
    assert nvml.nvmlSystemGetCudaDriverVersion() == 13000
    assert nvml.nvmlSystemGetCudaDriverVersion_v2() == 13000
    assert nvml.nvmlSystemGetDriverBranch().branch == "r580_00"


def test_a_gpu_tells_its_names_and_numbers(nvml):
    first = gpu(nvml)
    assert nvml.nvmlDeviceGetName(first) == "NVIDIA H100 80GB HBM3"
    assert nvml.nvmlDeviceGetBrand(first) == nvml.NVML_BRAND_TESLA
    assert nvml.nvmlDeviceGetArchitecture(first) == nvml.NVML_DEVICE_ARCH_HOPPER
    assert nvml.nvmlDeviceGetCudaComputeCapability(first) == (9, 0)
    assert nvml.nvmlDeviceGetUUID(first) == "GPU-00000000-1111-2222-3333-444444444444"
    assert nvml.nvmlDeviceGetSerial(first) == "1654923000123"
    assert nvml.nvmlDeviceGetBoardPartNumber(first) == "692-2G520-0280-501"
    assert nvml.nvmlDeviceGetVbiosVersion(first) == "96.00.A5.00.01"
    assert nvml.nvmlDeviceGetModuleId(first) == 4
    assert nvml.nvmlDeviceGetNumGpuCores(first) == 16896
    assert nvml.nvmlDeviceGetMemoryBusWidth(first) == 5120
    assert [nvml.nvmlDeviceGetIndex(gpu(nvml, i)) for i in range(3)] == [0, 1, 2]
    assert [nvml.nvmlDeviceGetMinorNumber(gpu(nvml, i)) for i in range(3)] == [0, 7, 2]


def test_what_is_left_out_has_the_documented_default(nvml):
    assert nvml.nvmlDeviceGetBrand(gpu(nvml, 2)) == nvml.NVML_BRAND_NVIDIA
    assert nvml.nvmlDeviceGetArchitecture(gpu(nvml, 2)) == nvml.NVML_DEVICE_ARCH_UNKNOWN
    for call in (
        nvml.nvmlDeviceGetSerial,
        nvml.nvmlDeviceGetBoardPartNumber,
        nvml.nvmlDeviceGetVbiosVersion,
        nvml.nvmlDeviceGetNumGpuCores,
        nvml.nvmlDeviceGetMemoryBusWidth,
        nvml.nvmlDeviceGetNumaNodeId,
        nvml.nvmlDeviceGetPowerUsage,
        nvml.nvmlDeviceGetBAR1MemoryInfo,
    ):
        with pytest.raises(nvml.NVMLError_NotSupported):
            call(gpu(nvml, 1))


def test_boards_are_told_apart(nvml):
    assert nvml.nvmlDeviceGetBoardId(gpu(nvml, 0)) == 0x1B00
    assert [nvml.nvmlDeviceGetMultiGpuBoard(gpu(nvml, i)) for i in range(3)] == [1, 0, 1]
    assert nvml.nvmlDeviceOnSameBoard(gpu(nvml, 0), gpu(nvml, 2))
    assert not nvml.nvmlDeviceOnSameBoard(gpu(nvml, 0), gpu(nvml, 1))


def test_pci_addresses_are_written_as_the_driver_writes_them(nvml):
    pci = nvml.nvmlDeviceGetPciInfo(gpu(nvml, 1))
    assert (pci.busId, pci.busIdLegacy) == ("00000001:A0:01.0", "0001:A0:01.0")
    assert (pci.domain, pci.bus, pci.device) == (1, 0xA0, 1)
    first = nvml.nvmlDeviceGetPciInfo_v3(gpu(nvml))
    assert (first.pciDeviceId, first.pciSubSystemId) == (0x233010DE, 0x16C110DE)

    legacy = nvml.nvmlPciInfo_v2_t()
    assert nvml.nvmlLib.nvmlDeviceGetPciInfo_v2(gpu(nvml, 1), ctypes.byref(legacy)) == 0
    assert (legacy.busId, legacy.domain, legacy.bus) == ("0001:A0:01.0", 1, 0xA0)

    extended = nvml.nvmlPciInfoExt_v1_t(version=nvml.nvmlPciInfoExt_v1)
    nvml.nvmlDeviceGetPciInfoExt(gpu(nvml, 1), ctypes.byref(extended))
    assert (extended.busId, extended.baseClass, extended.subClass) == ("00000001:A0:01.0", 3, 2)


def test_the_legacy_structure_is_not_written_past_its_end(nvml):
    size = ctypes.sizeof(nvml.nvmlPciInfo_v2_t)
    buffer = (ctypes.c_ubyte * (size + 32))(*[0xAB] * (size + 32))
    assert nvml.nvmlLib.nvmlDeviceGetPciInfo(gpu(nvml), buffer) == 0
    assert bytes(buffer[size:]) == b"\xab" * 32


@pytest.mark.parametrize("name", ["00000001:A0:01.0", "0001:a0:01.0", "00000001:a0:01.0"])
def test_a_gpu_is_found_by_its_address_however_it_is_written(nvml, name):
    assert nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetHandleByPciBusId(name)) == 1
    found = ctypes.c_void_p()
    lookup = nvml.nvmlLib.nvmlDeviceGetHandleByPciBusId
    assert lookup(name.encode(), ctypes.byref(found)) == 0
    assert found.value == ctypes.cast(gpu(nvml, 1), ctypes.c_void_p).value


def test_a_gpu_is_found_by_uuid_and_serial(nvml):
    uuid = "GPU-00000002-1111-2222-3333-444444444444"
    binary = bytes.fromhex(uuid.removeprefix("GPU-").replace("-", ""))
    for handle in (
        nvml.nvmlDeviceGetHandleByUUID(uuid),
        nvml.nvmlDeviceGetHandleByUUIDV(uuid.encode(), nvml.NVML_UUID_TYPE_ASCII),
        nvml.nvmlDeviceGetHandleByUUIDV(binary, nvml.NVML_UUID_TYPE_BINARY),
    ):
        assert nvml.nvmlDeviceGetIndex(handle) == 2
    assert nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetHandleBySerial("1654923000123")) == 0


def test_process_names_are_the_hosts(nvml):
    own = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().split(b"\0")[0].decode()
    assert nvml.nvmlSystemGetProcessName(os.getpid()) == own
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlSystemGetProcessName(2**22 + 1)  # above the kernel's largest pid


def test_unmodified_pynvml_finds_the_library_by_its_soname(machine):
    made = machine(gpus=4)
    script = (
        "import pynvml as n\nn.nvmlInit()\n"
        "for i in range(n.nvmlDeviceGetCount()):\n"
        "    print(n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(i)))\n"
        "n.nvmlShutdown()\n"
    )
    assert made.run(script).split() == [
        f"GPU-{i:08x}-1111-2222-3333-444444444444" for i in range(4)
    ]
