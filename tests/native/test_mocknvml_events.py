"""Events: registered, awaited from another process, in order, never twice."""

import contextlib
import ctypes
import threading
import time

import pytest

XID = 0x8
ANY = 0xFFFFFFFF


@pytest.fixture
def made(machine):
    return machine()


@pytest.fixture
def nvml(made):
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    return pynvml


def gpu(nvml, index=0):
    return nvml.nvmlDeviceGetHandleByIndex(index)


def event_set(nvml, *registrations):
    created = nvml.nvmlEventSetCreate()
    for index, types in registrations:
        nvml.nvmlDeviceRegisterEvents(gpu(nvml, index), types, created)
    return created


def drain(nvml, events):
    found = []
    while True:
        try:
            event = nvml.nvmlEventSetWait_v2(events, 0)
        except nvml.NVMLError_Timeout:
            return found
        found.append((event.eventType, event.eventData))


def test_an_event_tells_gpu_type_data_and_instances(made, nvml):
    events = event_set(nvml, (0, XID), (1, XID))
    made.command("xid 1 63")
    made.command("xid 0 94 3 1")
    whole, instance = (nvml.nvmlEventSetWait_v2(events, 1000) for _ in range(2))
    assert nvml.nvmlDeviceGetUUID(whole.device) == nvml.nvmlDeviceGetUUID(gpu(nvml, 1))
    assert (whole.eventType, whole.eventData) == (nvml.nvmlEventTypeXidCriticalError, 63)
    assert (whole.gpuInstanceId, whole.computeInstanceId) == (ANY, ANY)
    assert nvml.nvmlDeviceGetIndex(instance.device) == 0
    assert instance.eventData == 94
    assert (instance.gpuInstanceId, instance.computeInstanceId) == (3, 1)


def test_a_set_gets_what_it_registered_for_since_then_and_once(made, nvml):
    made.command("xid 0 1")
    ecc = nvml.nvmlEventTypeDoubleBitEccError
    some = event_set(nvml, (0, XID | ecc))
    both = event_set(nvml, (0, XID), (0, XID), (1, XID))
    made.command("xid 0 2\nevent 0 ecc-double 5\nevent 0 pstate\nxid 1 3")
    assert drain(nvml, some) == [(XID, 2), (ecc, 5)]
    assert drain(nvml, some) == []
    nvml.nvmlDeviceRegisterEvents(gpu(nvml, 0), nvml.nvmlEventTypePState, some)
    made.command("event 0 pstate 8")
    assert drain(nvml, some) == [(nvml.nvmlEventTypePState, 8)]
    assert drain(nvml, both) == [(XID, 2), (XID, 3)]


def test_every_type_of_the_control_door_reaches_its_set(made, nvml):
    types = {
        "ecc-single": nvml.nvmlEventTypeSingleBitEccError,
        "ecc-double": nvml.nvmlEventTypeDoubleBitEccError,
        "clock": nvml.nvmlEventTypeClock,
        "pstate": nvml.nvmlEventTypePState,
        "power-source": nvml.nvmlEventTypePowerSourceChange,
        "mig-config": nvml.nvmlEventMigConfigChange,
    }
    supported = nvml.nvmlDeviceGetSupportedEventTypes(gpu(nvml))
    assert supported == sum(types.values()) | XID
    events = event_set(nvml, (0, supported))
    for name in types:
        made.command(f"event 0 {name}")
    assert drain(nvml, events) == [(number, 0) for number in types.values()]


def test_a_gpu_supports_only_the_events_it_can_have(machine):
    made = machine(changes={"gpu 0 ecc_mode": None, "gpu 0 mig_mode": None})
    nvml = made.pynvml()
    nvml.nvmlInit()
    supported = nvml.nvmlDeviceGetSupportedEventTypes(gpu(nvml))
    assert supported == XID | nvml.nvmlEventTypeClock | nvml.nvmlEventTypePState | 0x80
    events = nvml.nvmlEventSetCreate()
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceRegisterEvents(gpu(nvml), nvml.nvmlEventTypeDoubleBitEccError, events)
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceRegisterEvents(gpu(nvml), 1 << 40, events)
    assert "gpu 0 has no ecc-double events" in made.try_command("event 0 ecc-double")


def test_waiting_ends_in_time(nvml):
    events = event_set(nvml, (0, XID))
    data = nvml.c_nvmlEventData_t()
    for wait in (nvml.nvmlLib.nvmlEventSetWait_v2, nvml.nvmlLib.nvmlEventSetWait):
        before = time.monotonic()
        assert wait(events, ctypes.byref(data), 250) == nvml.NVML_ERROR_TIMEOUT
        assert 0.25 <= time.monotonic() - before < 5


def test_sets_that_are_not_sets_are_refused(nvml):
    events = event_set(nvml, (0, XID))
    nvml.nvmlEventSetFree(events)
    for call in (
        lambda: nvml.nvmlEventSetWait(events, 0),
        lambda: nvml.nvmlEventSetFree(events),
        lambda: nvml.nvmlDeviceRegisterEvents(gpu(nvml), XID, events),
        lambda: nvml.nvmlEventSetWait(None, 0),
    ):
        with pytest.raises(nvml.NVMLError_InvalidArgument):
            call()


def test_a_gpu_falls_off_the_bus_with_xid_79_unless_silently(made, nvml):
    events = event_set(nvml, (0, XID), (1, XID))
    first = gpu(nvml)
    made.command("lose 0")
    made.command("lose 0")  # it is gone already: nothing happens
    made.command("lose 1 silently")
    event = nvml.nvmlEventSetWait(events, 1000)
    assert event.eventData == 79
    with pytest.raises(nvml.NVMLError_GpuIsLost):
        nvml.nvmlDeviceGetUUID(event.device)
    assert drain(nvml, events) == []
    made.command("restore 0\nrestore 1")
    assert nvml.nvmlDeviceGetUUID(event.device) == nvml.nvmlDeviceGetUUID(first)
    made.command("lose 0")
    assert drain(nvml, events) == [(XID, 79)]


WAITER = """
import sys, time, pynvml as n
n.nvmlInit()
events = n.nvmlEventSetCreate()
n.nvmlDeviceRegisterEvents(n.nvmlDeviceGetHandleByIndex(0), 8, events)
print("ready", flush=True)
for _ in range(int(sys.argv[1])):
    data = n.nvmlEventSetWait(events, 20000).eventData
    print(data, time.monotonic_ns(), flush=True)
"""


def test_a_waiter_in_another_process_wakes_at_once(made):
    rounds = 20
    delays = []
    with made.start(WAITER, rounds, stdout=-1) as process:
        assert process.stdout.readline() == "ready\n"
        for code in range(rounds):
            sent = time.monotonic_ns()
            made.command(f"xid 0 {code}")
            data, woke = process.stdout.readline().split()
            assert int(data) == code
            delays.append((int(woke) - sent) / 1e6)
    assert process.returncode == 0
    # A busy machine delays some; a waiter that polled would be late every time.
    assert sorted(delays)[rounds // 4] < 10, delays


def test_killed_waiters_harm_nobody(made, nvml):
    with contextlib.ExitStack() as stack:
        waiters = [stack.enter_context(made.start(WAITER, 1, stdout=-1)) for _ in range(4)]
        for process in waiters:
            assert process.stdout.readline() == "ready\n"
        events = event_set(nvml, (0, XID))
        for process in waiters[:3]:
            process.kill()
            process.wait(10)
        made.command("xid 0 31")
        assert waiters[3].stdout.readline().split()[0] == "31"
    assert drain(nvml, events) == [(XID, 31)]


def test_freeing_a_set_or_shutting_down_ends_a_wait(nvml):
    for end in (nvml.nvmlEventSetFree, lambda _: nvml.nvmlShutdown()):
        events = event_set(nvml, (0, XID))
        outcome = []

        def wait(events=events, outcome=outcome):
            data = ctypes.byref(nvml.c_nvmlEventData_t())
            outcome.append(nvml.nvmlLib.nvmlEventSetWait_v2(events, data, 30000))

        thread = threading.Thread(target=wait)
        thread.start()
        end(events)
        thread.join(10)
        # Whether the thread was already waiting decides which of the two it is told.
        assert outcome[0] in (nvml.NVML_ERROR_UNINITIALIZED, nvml.NVML_ERROR_INVALID_ARGUMENT)


def test_a_set_that_reads_too_late_loses_the_oldest_and_that_is_counted(made, nvml):
    late = event_set(nvml, (0, XID))
    for start in range(0, 1280, 64):
        made.command("\n".join(f"xid 0 {start + i}" for i in range(64)))
    assert "events overwritten" not in made.describe()
    codes = [data for _, data in drain(nvml, late)]
    assert codes == [*range(1280 - 960, 1280)]
    assert made.describe().splitlines()[-1].endswith(": 320")
    made.command("xid 0 5000")
    assert drain(nvml, late) == [(XID, 5000)]
