"""One machine seen by several processes, several machines in one process, and kills."""

import json
import os
import time
from pathlib import Path

import pytest

SECONDS = 10 if os.environ.get("PLUMBLINE_LONG") else 2


def test_two_machines_in_one_process_are_two_drivers(machine):
    small = machine(gpus=1, name="small")
    large = machine(gpus=3, name="large", changes={"system driver_version": "580.65.06"})
    first, second = small.pynvml(), large.pynvml()
    first.nvmlInit()
    with pytest.raises(second.NVMLError_Uninitialized):
        second.nvmlDeviceGetCount()
    second.nvmlInit()
    assert (first.nvmlDeviceGetCount(), second.nvmlDeviceGetCount()) == (1, 3)
    assert first.nvmlSystemGetDriverVersion() == "570.124.06"
    assert second.nvmlSystemGetDriverVersion() == "580.65.06"

    ours, theirs = first.nvmlDeviceGetHandleByIndex(0), second.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(second.NVMLError_InvalidArgument):
        second.nvmlDeviceGetName(ours)
    events = second.nvmlEventSetCreate()
    second.nvmlDeviceRegisterEvents(theirs, second.nvmlEventTypeXidCriticalError, events)
    small.command("xid 0 1")
    large.command("xid 0 2")
    assert second.nvmlEventSetWait(events, 1000).eventData == 2
    first.nvmlShutdown()
    assert second.nvmlDeviceGetName(theirs) == "NVIDIA H100 80GB HBM3"


def test_a_second_initialisation_finds_the_machine_as_it_is_then(machine):
    made = machine()
    nvml = made.pynvml()
    nvml.nvmlInit()
    nvml.nvmlShutdown()
    made.command("set gpu 0 persistence_mode off")
    nvml.nvmlInit()
    assert nvml.nvmlDeviceGetPersistenceMode(nvml.nvmlDeviceGetHandleByIndex(0)) == 0


def test_one_process_sees_what_another_changed(machine):
    made = machine()
    made.run(
        "import pynvml as n\nn.nvmlInit()\n"
        "n.nvmlDeviceSetComputeMode(n.nvmlDeviceGetHandleByIndex(1), 3)\n"
    )
    nvml = made.pynvml()
    nvml.nvmlInit()
    modes = [nvml.nvmlDeviceGetComputeMode(nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(2)]
    assert modes == [nvml.NVML_COMPUTEMODE_DEFAULT, nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS]


def test_the_machine_is_found_however_the_library_is_named(machine, tmp_path):
    made = machine()
    (tmp_path / "elsewhere").symlink_to(made.folder / "lib")
    script = (
        "import ctypes, os, sys\n"
        "lib = ctypes.CDLL(sys.argv[1])\nos.chdir('/')\nprint(lib.nvmlInit_v2())\n"
    )
    assert made.run(script, tmp_path / "elsewhere" / "libnvidia-ml.so.1").strip() == "0"
    relative = os.path.relpath(made.library)
    assert made.run(script, relative).strip() == "0"


def test_a_lock_that_was_held_when_the_power_went_holds_nobody_up(machine):
    made = machine()
    content = bytearray(made.state.read_bytes())
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    start = content.index(boot_id)
    content[start : start + len(boot_id)] = b"00000000-0000-0000-0000-000000000000"
    lock = start + 40  # glibc's mutex begins with the thread that holds it
    content[lock : lock + 4] = (1).to_bytes(4, "little")
    made.state.write_bytes(content)
    before = time.monotonic()
    made.command("set gpu 0 memory_used_bytes 5")
    assert time.monotonic() - before < 5
    assert boot_id in made.state.read_bytes()


# Forks children that mutate and watch one machine, kills them at random, replaces them.
# A child that sees facts that do not belong together says so with exit status 3.
HAMMER = """
import ctypes, json, os, random, signal, sys, time
import pynvml as n

library = ctypes.CDLL("libnvidia-ml.so.1")
seconds, width = float(sys.argv[1]), 8

def command(text):
    error = ctypes.create_string_buffer(500)
    if library.plumbline_machine_command(text.encode(), error, 500):
        raise SystemExit(4)

def torn(found):
    keys = ("power_usage_mw", "clock_graphics_mhz", "memory_used_bytes", "ecc_errors_corrected")
    return len({found[f"gpu {g} {key}"] for g in range(4) for key in keys}) != 1

def described():
    size, error = ctypes.c_size_t(1 << 20), ctypes.create_string_buffer(500)
    buffer = ctypes.create_string_buffer(size.value)
    if library.plumbline_machine_describe(buffer, ctypes.byref(size), error, 500):
        raise SystemExit(5)
    rows = (line.rpartition(" ") for line in buffer.value.decode().splitlines())
    return {key: value for key, _, value in rows}

def change_all(chance):
    value = chance.randrange(10**6)
    keys = ("power_usage_mw", "clock_graphics_mhz", "memory_used_bytes", "ecc_errors_corrected")
    command("\\n".join(f"set gpu {g} {key} {value}" for g in range(4) for key in keys))

def look(chance):
    if torn(described()):
        raise SystemExit(3)

def look_closely(chance):
    # Two facts of one GPU that lie far apart, out of one answer, as often as possible.
    fields = (n.c_nvmlFieldValue_t * 2)()
    fields[0].fieldId = n.NVML_FI_DEV_POWER_INSTANT
    fields[1].fieldId = n.NVML_FI_DEV_ECC_SBE_VOL_TOTAL
    gpu = n.c_nvmlDevice_t()
    for _ in range(100):
        if n.nvmlLib.nvmlDeviceGetHandleByIndex_v2(chance.randrange(4), ctypes.byref(gpu)) == 0:
            break
    else:
        return
    for _ in range(3000):
        if n.nvmlLib.nvmlDeviceGetFieldValues(gpu, 2, fields) != 0:
            return
        if fields[0].value.uiVal != fields[1].value.ullVal:
            raise SystemExit(3)

def emit(chance):
    command(f"xid {chance.randrange(4)} {chance.randrange(100)}")

def lose(chance):
    command(f"lose {chance.randrange(4)}")
    command(f"restore {chance.randrange(4)}")

def persist(chance):
    try:
        gpu = n.nvmlDeviceGetHandleByIndex(chance.randrange(4))
        n.nvmlDeviceSetPersistenceMode(gpu, chance.randrange(2))
    except n.NVMLError_GpuIsLost:
        pass

def wait(chance):
    events = n.nvmlEventSetCreate()
    for index in range(4):
        try:
            n.nvmlDeviceRegisterEvents(n.nvmlDeviceGetHandleByIndex(index), 8, events)
        except n.NVMLError_GpuIsLost:
            pass
    for _ in range(3):
        try:
            n.nvmlEventSetWait(events, 2)
        except n.NVMLError_Timeout:
            pass
    n.nvmlEventSetFree(events)

def child(seed):
    chance = random.Random(seed)
    n.nvmlInit()
    actions = [*[change_all] * 5, look, look_closely, emit, lose, persist, wait]
    while True:
        chance.choice(actions)(chance)

chance, children, seed, ended = random.Random(7), set(), 0, {}
begun = time.monotonic()
while time.monotonic() < begun + seconds or ended.get(-9, 0) < 20:
    while len(children) < width:
        seed += 1
        pid = os.fork()
        if pid == 0:
            try:
                child(seed)
            except SystemExit as end:
                os._exit(end.code)
            except BaseException:
                os._exit(6)
        children.add(pid)
    time.sleep(chance.random() * 0.02)
    victim = chance.choice(sorted(children))
    os.kill(victim, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1])
    ended[status] = ended.get(status, 0) + 1
    children.remove(victim)
for pid in children:
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ended[status] = ended.get(status, 0) + 1
print(json.dumps(ended))
"""

FRESH = """
import time
before = time.monotonic()
import pynvml as n
n.nvmlInit()
gpu = n.nvmlDeviceGetHandleByIndex(0)
events = n.nvmlEventSetCreate()
n.nvmlDeviceRegisterEvents(gpu, 8, events)
n.nvmlDeviceSetPersistenceMode(gpu, 0)
n.nvmlDeviceSetPersistenceMode(gpu, 1)
assert n.nvmlDeviceGetPersistenceMode(gpu) == 1
print(time.monotonic() - before)
"""


def test_processes_killed_anywhere_leave_a_whole_state_and_no_lock(machine):
    gpus = {f"gpu {i} power_max_limit_mw": "1000000" for i in range(4)}
    made = machine(gpus=4, links=18, changes=gpus)
    ended = json.loads(made.run(HAMMER, SECONDS))
    assert set(ended) == {"-9"}, ended

    before = time.monotonic()
    made.command("restore 0\nset gpu 0 utilization_gpu_percent 5")
    assert time.monotonic() - before < 1
    described = made.described()
    keys = ("power_usage_mw", "clock_graphics_mhz", "memory_used_bytes", "ecc_errors_corrected")
    assert len({described[f"gpu {g} {key}"] for g in range(4) for key in keys}) == 1
    assert described["gpu 0 utilization_gpu_percent"] == "5"
    assert float(made.run(FRESH)) < 1
