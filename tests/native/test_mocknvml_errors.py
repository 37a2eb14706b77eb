"""Return codes: the simulated driver refuses what the real one refuses."""

import contextlib
import ctypes
import os
import tempfile
from pathlib import Path

import pytest

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION = 0, 1, 2, 3, 4
INSUFFICIENT_SIZE, DRIVER_NOT_LOADED, GPU_IS_LOST = 7, 9, 15
LIB_RM_VERSION_MISMATCH, GPU_NOT_FOUND, UNKNOWN = 18, 28, 999


@contextlib.contextmanager
def returning(nvml, code):
    with pytest.raises(nvml.NVMLError) as caught:
        yield
    assert caught.value.value == code, caught.value


def test_nothing_answers_before_initialisation_or_after_the_last_shutdown(machine):
    lib = machine().load()
    number = ctypes.c_uint()
    for name in ("nvmlDeviceGetCount_v2", "nvmlUnitGetCount", "nvmlEventSetCreate", "nvmlShutdown"):
        assert getattr(lib, name)(ctypes.byref(number)) == UNINITIALIZED
    assert lib.nvmlInit_v2() == lib.nvmlInitWithFlags(0) == lib.nvmlInit() == SUCCESS
    assert [lib.nvmlShutdown() for _ in range(2)] == [SUCCESS, SUCCESS]
    assert lib.nvmlDeviceGetCount_v2(ctypes.byref(number)) == SUCCESS
    assert lib.nvmlShutdown() == SUCCESS
    assert lib.nvmlDeviceGetCount_v2(ctypes.byref(number)) == UNINITIALIZED
    assert lib.nvmlShutdown() == UNINITIALIZED


def test_unmodelled_functions_are_uninitialised_first_and_then_not_supported(machine):
    lib = machine().load()
    device, number = ctypes.c_void_p(), ctypes.c_uint()
    assert lib.nvmlDeviceGetNumFans(device, ctypes.byref(number)) == UNINITIALIZED
    assert lib.nvmlSystemGetConfComputeState(ctypes.byref(number)) == UNINITIALIZED
    lib.nvmlInit_v2()
    assert lib.nvmlDeviceGetNumFans(device, ctypes.byref(number)) == INVALID_ARGUMENT
    assert lib.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == SUCCESS
    assert lib.nvmlDeviceGetNumFans(device, ctypes.byref(number)) == NOT_SUPPORTED
    assert lib.nvmlSystemGetConfComputeState(ctypes.byref(number)) == NOT_SUPPORTED


def test_unknown_flags_are_refused(machine):
    lib = machine().load()
    assert lib.nvmlInitWithFlags(8) == INVALID_ARGUMENT
    assert lib.nvmlInitWithFlags(7) == SUCCESS


def test_a_machine_without_gpus_needs_the_flag_that_allows_it(machine):
    pynvml = machine(gpus=0).pynvml()
    with returning(pynvml, GPU_NOT_FOUND):
        pynvml.nvmlInit()
    pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
    assert pynvml.nvmlDeviceGetCount() == 0


def test_arguments_are_checked(machine):
    pynvml = machine().pynvml()
    pynvml.nvmlInit()
    lib, first = pynvml.nvmlLib, pynvml.nvmlDeviceGetHandleByIndex(0)
    with returning(pynvml, INVALID_ARGUMENT):
        pynvml.nvmlDeviceGetHandleByIndex(2)
    for uuid in ("GPU-ffffffff-1111-2222-3333-444444444444", "GPU-1", "MIG-1"):
        with pytest.raises(pynvml.NVMLError_NotFound):
            pynvml.nvmlDeviceGetHandleByUUID(uuid)
    for address, error in (
        ("0000:ff:00.0", pynvml.NVMLError_NotFound),
        ("nonsense", pynvml.NVMLError_InvalidArgument),
        ("", pynvml.NVMLError_InvalidArgument),
    ):
        with pytest.raises(error):
            pynvml.nvmlDeviceGetHandleByPciBusId(address)
    assert lib.nvmlDeviceGetCount_v2(None) == INVALID_ARGUMENT
    assert lib.nvmlDeviceGetName(first, None, 64) == INVALID_ARGUMENT
    assert lib.nvmlDeviceGetMinorNumber(first, None) == INVALID_ARGUMENT
    number = ctypes.c_uint()
    for wrong in (None, ctypes.byref(number), ctypes.c_void_p(1)):
        assert lib.nvmlDeviceGetMinorNumber(wrong, ctypes.byref(number)) == INVALID_ARGUMENT


def test_a_serial_that_two_gpus_share_names_neither(machine):
    shared = {"gpu 0 serial": "42", "gpu 1 serial": "42"}
    pynvml = machine(changes=shared).pynvml()
    pynvml.nvmlInit()
    with returning(pynvml, INVALID_ARGUMENT):
        pynvml.nvmlDeviceGetHandleBySerial("42")
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleBySerial("43")


def test_text_that_does_not_fit_is_not_written(machine):
    pynvml = machine().pynvml()
    pynvml.nvmlInit()
    first = pynvml.nvmlDeviceGetHandleByIndex(0)
    buffer = ctypes.create_string_buffer(b"x" * 40, 41)
    assert pynvml.nvmlLib.nvmlDeviceGetUUID(first, buffer, 40) == INSUFFICIENT_SIZE
    assert buffer.value == b"x" * 40
    assert pynvml.nvmlLib.nvmlDeviceGetUUID(first, buffer, 41) == SUCCESS
    assert buffer.value.startswith(b"GPU-")


def test_every_code_has_a_text(machine):
    pynvml = machine().pynvml()
    codes = [v for k, v in vars(pynvml).items() if k.startswith("NVML_ERROR_")]
    texts = {code: pynvml.nvmlErrorString(code) for code in codes}
    assert len(codes) > 25
    assert len(set(texts.values())) == len(codes)
    assert texts[15] == "GPU is lost"
    assert pynvml.nvmlErrorString(12345) == texts[UNKNOWN]


def test_versioned_structures_of_another_version_are_refused(machine):
    pynvml = machine().pynvml()
    pynvml.nvmlInit()
    lib, first = pynvml.nvmlLib, pynvml.nvmlDeviceGetHandleByIndex(0)
    mismatch = pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
    for name, structure in (
        ("nvmlDeviceGetMemoryInfo_v2", pynvml.c_nvmlMemory_v2_t),
        ("nvmlDeviceGetPciInfoExt", pynvml.nvmlPciInfoExt_v1_t),
        ("nvmlDeviceGetTemperatureV", pynvml.c_nvmlTemperature_v1_t),
        ("nvmlDeviceGetGpuFabricInfoV", pynvml.c_nvmlGpuFabricInfo_v2_t),
        ("nvmlDeviceGetPlatformInfo", pynvml.c_nvmlPlatformInfo_v2_t),
        ("nvmlDeviceGetAddressingMode", pynvml.c_nvmlDeviceAddressingMode_t),
    ):
        argument = structure()
        argument.version = 0x7000010
        assert getattr(lib, name)(first, ctypes.byref(argument)) == mismatch, name
    uuid = pynvml.c_nvmlUUID_t()
    uuid.version = 0
    found = ctypes.c_void_p()
    assert lib.nvmlDeviceGetHandleByUUIDV(ctypes.byref(uuid), ctypes.byref(found)) == mismatch
    branch = pynvml.c_nvmlSystemDriverBranchInfo_v1_t(version=0)
    assert lib.nvmlSystemGetDriverBranch(ctypes.byref(branch), 80) == mismatch


QUERIES = [
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetIndex",
    "nvmlDeviceGetPciInfo",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetEccMode",
    "nvmlDeviceGetPersistenceMode",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetSupportedEventTypes",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetNumFans",
]


def test_a_lost_gpu_says_so_to_every_question_and_its_neighbour_does_not_mind(machine):
    made = machine(links=2)
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    first, second = (pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(2))
    uuid, address = pynvml.nvmlDeviceGetUUID(first), "0000:1b:00.0"
    made.command("lose 0")

    assert pynvml.nvmlDeviceGetCount() == 2
    for query in QUERIES:
        with returning(pynvml, GPU_IS_LOST):
            getattr(pynvml, query)(first)
    for lookup, name in (
        (pynvml.nvmlDeviceGetHandleByIndex, 0),
        (pynvml.nvmlDeviceGetHandleByUUID, uuid),
        (pynvml.nvmlDeviceGetHandleByPciBusId, address),
    ):
        with returning(pynvml, GPU_IS_LOST):
            lookup(name)
    for pair in ((first, second), (second, first)):
        with returning(pynvml, GPU_IS_LOST):
            pynvml.nvmlDeviceGetTopologyCommonAncestor(*pair)
    with returning(pynvml, GPU_IS_LOST):
        pynvml.nvmlDeviceSetPersistenceMode(first, 1)
    with returning(pynvml, GPU_IS_LOST):
        pynvml.nvmlDeviceRegisterEvents(first, 8, pynvml.nvmlEventSetCreate())
    assert pynvml.nvmlDeviceGetName(second) == "NVIDIA H100 80GB HBM3"
    assert pynvml.nvmlDeviceGetIndex(second) == 1

    made.command("restore 0")
    assert pynvml.nvmlDeviceGetUUID(first) == uuid


def test_without_a_state_there_is_no_driver(empty_machine):
    assert empty_machine().load().nvmlInit_v2() == DRIVER_NOT_LOADED


@pytest.mark.parametrize("cut", ["nothing left", "100 left", "a page left", "-4096", "-1", "+1"])
def test_a_truncated_state_is_an_error_and_no_crash(machine, cut):
    made = machine()
    left = {"nothing left": 0, "100 left": 100, "a page left": 4096}
    os.truncate(made.state, left[cut] if cut in left else made.state.stat().st_size + int(cut))
    assert made.load().nvmlInit_v2() == UNKNOWN
    assert "wrong size" in made.try_command("lose 0")


def test_a_state_truncated_under_a_running_program_is_an_error_and_no_crash(machine):
    made = machine()
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    first, events = pynvml.nvmlDeviceGetHandleByIndex(0), pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(first, pynvml.nvmlEventTypeXidCriticalError, events)
    os.truncate(made.state, 4096)
    with returning(pynvml, UNKNOWN):
        pynvml.nvmlDeviceGetName(first)
    with returning(pynvml, UNKNOWN):
        pynvml.nvmlEventSetWait(events, 10)
    with returning(pynvml, UNKNOWN):
        pynvml.nvmlDeviceSetPersistenceMode(first, 0)
    pynvml.nvmlShutdown()


def test_a_foreign_file_and_an_older_one_are_told_apart(machine):
    made = machine()
    content = bytearray(made.state.read_bytes())
    made.state.write_bytes(bytes([*content[:8], 99]) + content[9:])
    assert made.load().nvmlInit_v2() == LIB_RM_VERSION_MISMATCH
    made.state.write_bytes(b"x" * len(content))
    assert made.load().nvmlInit_v2() == UNKNOWN
    assert "not a state file" in made.try_command("lose 0")
    made.state.unlink()
    made.state.mkdir()
    assert made.load().nvmlInit_v2() == DRIVER_NOT_LOADED


READ_ONLY_PROGRAM = """
import os, sys, pynvml as n
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
n.nvmlInit()
gpu = n.nvmlDeviceGetHandleByIndex(0)
events = n.nvmlEventSetCreate()
n.nvmlDeviceRegisterEvents(gpu, n.nvmlEventTypeXidCriticalError, events)
try:
    n.nvmlDeviceSetPersistenceMode(gpu, 0)
except n.NVMLError as error:
    print(error.value, flush=True)
sys.stdin.readline()
print(n.nvmlEventSetWait(events, 10000).eventData)
"""


@pytest.fixture
def public_folder():
    """A folder that every user can reach; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_who_may_only_read_the_state_can_ask_and_wait_but_not_change(machine, public_folder):
    made = machine(parent=public_folder)
    made.state.chmod(0o444)
    with made.start(READ_ONLY_PROGRAM, stdin=-1, stdout=-1) as process:
        assert int(process.stdout.readline()) == NO_PERMISSION
        made.state.chmod(0o644)
        made.command("xid 0 63")
        output, _ = process.communicate("go\n", timeout=30)
    assert output.strip() == "63"
