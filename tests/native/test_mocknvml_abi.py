"""The binary interface: structures, exported names, and a program in C that uses them."""

import ctypes
import re
import subprocess
from pathlib import Path

import pynvml
import pytest

# What nvml_abi.hpp calls each structure, and what nvidia-ml-py calls it.
STRUCTURES = {
    "PciInfoLegacy": "nvmlPciInfo_v2_t",
    "PciInfo": "nvmlPciInfo_t",
    "PciInfoExt": "nvmlPciInfoExt_v1_t",
    "ExcludedDeviceInfo": "c_nvmlExcludedDeviceInfo_t",
    "DriverBranchInfo": "c_nvmlSystemDriverBranchInfo_v1_t",
    "UuidValue": "c_nvmlUUIDValue_t",
    "Uuid": "c_nvmlUUID_t",
    "Memory": "c_nvmlMemory_t",
    "Memory_v2": "c_nvmlMemory_v2_t",
    "Bar1Memory": "c_nvmlBAR1Memory_t",
    "EccErrorCounts": "c_nvmlEccErrorCounts_t",
    "Utilization": "c_nvmlUtilization_t",
    "ProcessInfo": "c_nvmlProcessInfo_v3_t",
    "Temperature": "c_nvmlTemperature_v1_t",
    "C2cModeInfo": "c_nvmlC2cModeInfo_v1_t",
    "AddressingMode": "c_nvmlDeviceAddressingMode_t",
    "Value": "c_nvmlValue_t",
    "FieldValue": "c_nvmlFieldValue_t",
    "GpuFabricInfo": "c_nvmlGpuFabricInfo_t",
    "GpuFabricInfo_v2": "c_nvmlGpuFabricInfo_v2_t",
    "GpuFabricInfo_v3": "c_nvmlGpuFabricInfo_v3_t",
    "PlatformInfo_v1": "c_nvmlPlatformInfo_v1_t",
    "PlatformInfo_v2": "c_nvmlPlatformInfo_v2_t",
    "PowerValue_v2": "c_nvmlPowerValue_v2_t",
    "Placement": "c_nvmlGpuInstancePlacement_t",
    "GpuInstanceProfileInfo": "c_nvmlGpuInstanceProfileInfo_t",
    "GpuInstanceProfileInfo_v2": "c_nvmlGpuInstanceProfileInfo_v2_t",
    "GpuInstanceInfo": "c_nvmlGpuInstanceInfo_t",
    "ComputeInstanceProfileInfo": "c_nvmlComputeInstanceProfileInfo_t",
    "ComputeInstanceProfileInfo_v2": "c_nvmlComputeInstanceProfileInfo_v2_t",
    "ComputeInstanceInfo": "c_nvmlComputeInstanceInfo_t",
    "DeviceAttributes": "c_nvmlDeviceAttributes",
    "EventData": "c_nvmlEventData_t",
}

# Looked up by go-nvml (its dispatch table) beside the names that nvidia-ml-py looks up.
GO_NVML_ONLY = [
    "nvmlInit",
    "nvmlInit_v2",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetHandleByPciBusId",
    "nvmlDeviceGetPciInfo",
    "nvmlDeviceGetPciInfo_v2",
    "nvmlDeviceGetNvLinkRemotePciInfo",
    "nvmlDeviceGetGridLicensableFeatures",
    "nvmlDeviceGetGridLicensableFeatures_v2",
    "nvmlDeviceGetGridLicensableFeatures_v3",
    "nvmlDeviceRemoveGpu_v2",
    "nvmlEventSetWait",
    "nvmlDeviceGetAttributes",
    "nvmlComputeInstanceGetInfo",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
    "nvmlDeviceGetGpuInstancePossiblePlacements",
    "nvmlVgpuInstanceGetLicenseInfo",
]


@pytest.fixture
def made(machine):
    return machine(gpus=4, links=2, changes={"pair 1 2 ancestor": "multiple"})


def layouts(library):
    size = library.plumbline_abi_layout(None, 0)
    buffer = ctypes.create_string_buffer(size)
    library.plumbline_abi_layout(buffer, size)
    found = {}
    for line in buffer.value.decode().splitlines():
        structure, field, offset, length = line.split()
        found.setdefault(structure, {})[field] = (int(offset), int(length))
    return found


def test_every_structure_has_the_layout_callers_compile_against(made):
    found = layouts(made.load())
    expected = {}
    for ours, theirs in STRUCTURES.items():
        structure = getattr(pynvml, theirs)
        fields = [field[0] for field in structure._fields_]
        members = [getattr(structure, field) for field in fields]
        expected[ours] = {"-": (0, ctypes.sizeof(structure))} | {
            field: (member.offset, member.size)
            for field, member in zip(fields, members, strict=True)
        }
    # NVML's own header has one byte here; the binding writes four, the other three zero.
    expected["PowerValue_v2"]["powerScope"] = (4, 1)
    assert found == expected


def test_every_structure_of_the_header_is_compared():
    header = Path(__file__).parents[2] / "native" / "mocknvml" / "nvml_abi.hpp"
    declared = set(re.findall(r"^(?:struct|union) (\w+) \{", header.read_text(), re.MULTILINE))
    # The first process structure is in no current binding; go-nvml has it as pid and memory.
    # Of the profiles' third version, the second's fields without P2P, and capabilities.
    third = {"GpuInstanceProfileInfo_v3", "ComputeInstanceProfileInfo_v3"}
    assert declared == set(STRUCTURES) | {"ProcessInfo_v1"} | third


def test_version_tags_are_size_and_version(made):
    nvml = made.pynvml()
    nvml.nvmlInit()
    first = nvml.nvmlDeviceGetHandleByIndex(0)
    nvml.nvmlDeviceGetMemoryInfo(first, nvml.nvmlMemory_v2)
    nvml.nvmlSystemGetDriverBranch()
    nvml.nvmlDeviceGetHandleByUUIDV(
        nvml.nvmlDeviceGetUUID(first).encode(), nvml.NVML_UUID_TYPE_ASCII
    )
    mode = nvml.c_nvmlDeviceAddressingMode_t()
    assert nvml.nvmlLib.nvmlDeviceGetAddressingMode(first, ctypes.byref(mode)) == 0


def exported(library):
    listing = subprocess.run(
        ["nm", "--dynamic", "--defined-only", library], check=True, capture_output=True, text=True
    )
    return {line.split()[-1] for line in listing.stdout.splitlines()}


def test_every_name_that_callers_look_up_is_exported_and_nothing_else(made):
    source = Path(pynvml.__file__).read_text()
    looked_up = set(re.findall(r'_nvmlGetFunctionPointer\("(nvml\w+)"', source))
    assert len(looked_up) > 400
    names = exported(made.library)
    assert looked_up | set(GO_NVML_ONLY) <= names
    others = {name for name in names if not name.startswith("nvml")}
    assert others == {
        "plumbline_abi_layout",
        "plumbline_machine_command",
        "plumbline_machine_create",
        "plumbline_machine_describe",
    }


def test_every_question_about_a_device_is_answered_with_a_known_code(made):
    nvml = made.pynvml()
    nvml.nvmlInit()
    first = nvml.nvmlDeviceGetHandleByIndex(0)
    refused = 0
    for name in sorted(exported(made.library)):
        # These two families take no device.
        if not name.startswith("nvmlDeviceGet") or re.search("GetHandleBy|GetCount", name):
            continue
        room = (ctypes.c_ubyte * 65536)()
        code = getattr(nvml.nvmlLib, name)(first, room, None, None, None, None)
        assert code in nvml.NVMLError._valClassMapping or code == 0, (name, code)
        refused += code == nvml.NVML_ERROR_NOT_SUPPORTED
    assert refused > 100


def test_a_program_in_c_reads_what_pynvml_reads(made, tmp_path):
    program = tmp_path / "consumer"
    source = Path(__file__).with_name("nvml_consumer.c")
    subprocess.run(["cc", "-Wall", "-Werror", "-o", program, source, "-ldl"], check=True)
    output = subprocess.run(
        [program], check=True, capture_output=True, text=True, env=made.environment()
    ).stdout

    nvml = made.pynvml()
    nvml.nvmlInit()
    gpus = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(4)]
    expected = ["count 4"]
    for i, gpu in enumerate(gpus):
        pci = nvml.nvmlDeviceGetPciInfo(gpu)
        expected.append(f"gpu {i} {nvml.nvmlDeviceGetUUID(gpu)}")
        expected.append(f"name {i} {nvml.nvmlDeviceGetName(gpu)}")
        expected.append(f"pci {i} {pci.busId} {pci.busIdLegacy} {pci.pciDeviceId:08x}")
    for a, first in enumerate(gpus):
        for b, second in enumerate(gpus):
            if a != b:
                level = nvml.nvmlDeviceGetTopologyCommonAncestor(first, second)
                status = nvml.nvmlDeviceGetP2PStatus(first, second, 2)
                expected.append(f"pair {a} {b} {level} {status}")
    assert output.splitlines() == expected
    assert "pair 2 1 20 0" in expected
