"""MIG as the driver has it: modes, profiles, placements, instances, devices, and refusals."""

import ctypes

import pytest
from mig_descriptions import H100_PROFILES, mig_profiles


@pytest.fixture
def node(machine):
    """Make a machine whose GPUs are H100s in MIG mode."""

    def make(gpus=1, mode="on", changes=None):
        found = {}
        for gpu in range(gpus):
            found |= mig_profiles(gpu) | {f"gpu {gpu} mig_mode": mode}
        return machine(gpus=gpus, changes=found | (changes or {}))

    return make


def started(made):
    nvml = made.pynvml()
    nvml.nvmlInit()
    return nvml, nvml.nvmlDeviceGetHandleByIndex(0)


@pytest.fixture
def gpu(node):
    """A pynvml and the handle of a GPU in MIG mode that is not divided."""
    return started(node())


def refused(nvml, code, call, *arguments):
    with pytest.raises(nvml.NVMLError) as caught:
        call(*arguments)
    assert caught.value.value == getattr(nvml, f"NVML_ERROR_{code}")


def info(nvml, instance):
    found = nvml.nvmlGpuInstanceGetInfo(instance)
    return found.id, found.profileId, found.placement.start, found.placement.size


def at(nvml, start, size):
    return ctypes.byref(nvml.c_nvmlGpuInstancePlacement_t(start, size))


def instances(nvml, device, profile):
    found, count = (nvml.c_nvmlGpuInstance_t * 7)(), ctypes.c_uint(0)
    nvml.nvmlDeviceGetGpuInstances(device, profile, found, ctypes.byref(count))
    return [info(nvml, found[i])[0] for i in range(count.value)]


def placements(call, owner, profile, kind):
    count = ctypes.c_uint(0)
    call(owner, profile, None, ctypes.byref(count))
    found = (kind * count.value)()
    call(owner, profile, found, ctypes.byref(count))
    return [(each.start, each.size) for each in found[: count.value]]


def test_profiles_are_asked_for_by_number_and_by_id(gpu):
    nvml, device = gpu
    third = nvml.nvmlDeviceGetGpuInstanceProfileInfo(device, 2)
    assert (third.id, third.sliceCount, third.instanceCount) == (9, 3, 2)
    assert (third.multiprocessorCount, third.memorySizeMB) == (60, 40448)
    assert (third.decoderCount, third.jpegCount, third.ofaCount) == (3, 3, 0)
    assert nvml.nvmlDeviceGetGpuInstanceProfileInfoById(device, 9).name == third.name
    assert third.name == "MIG 3g.40gb"
    assert nvml.nvmlDeviceGetGpuInstanceProfileInfo(device, 7, version=1).id == 20

    refused(nvml, "NOT_SUPPORTED", nvml.nvmlDeviceGetGpuInstanceProfileInfo, device, 5)
    refused(nvml, "INVALID_ARGUMENT", nvml.nvmlDeviceGetGpuInstanceProfileInfo, device, 18)
    refused(nvml, "INVALID_ARGUMENT", nvml.nvmlDeviceGetGpuInstanceProfileInfoById, device, 2)


def test_the_third_version_of_a_profile_has_capabilities_instead_of_p2p(gpu):
    nvml, device = gpu

    class Third(ctypes.Structure):
        _fields_ = [
            ("version", ctypes.c_uint),
            *[(f"number{i}", ctypes.c_uint) for i in range(9)],
            ("memory", ctypes.c_ulonglong),
            ("name", ctypes.c_char * 96),
            ("capabilities", ctypes.c_uint),
        ]

    found = Third(version=ctypes.sizeof(Third) | 3 << 24)
    call = nvml.nvmlLib.nvmlDeviceGetGpuInstanceProfileInfoV
    assert call(device, 0, ctypes.byref(found)) == 0
    assert (found.number0, found.number1, found.number2, found.number3) == (19, 1, 7, 16)
    assert (found.memory, found.name, found.capabilities) == (9984, b"MIG 1g.10gb", 0)
    found.version = ctypes.sizeof(Third) | 4 << 24
    assert call(device, 0, ctypes.byref(found)) == nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH


def test_possible_placements_are_all_there_are_whatever_is_taken(gpu):
    nvml, device = gpu

    def of(profile):
        call = nvml.nvmlDeviceGetGpuInstancePossiblePlacements
        return placements(call, device, profile, nvml.c_nvmlGpuInstancePlacement_t)

    nvml.nvmlDeviceCreateGpuInstance(device, 0)
    assert of(9) == [(0, 4), (4, 4)]
    assert of(15) == [(0, 2), (2, 2), (4, 2), (6, 2)]
    assert of(19) == [(start, 1) for start in range(7)]
    assert of(0) == [(0, 8)]


def test_ids_follow_from_places_and_the_driver_leaves_the_large_places_whole(gpu):
    nvml, device = gpu
    made = [info(nvml, nvml.nvmlDeviceCreateGpuInstance(device, 19)) for _ in range(7)]
    # As on real boards: 13 first, which breaks no 2g, then the rest of that half.
    assert [each[0] for each in made] == [13, 11, 12, 7, 8, 9, 10]
    assert [each[2] for each in made] == [6, 4, 5, 0, 1, 2, 3]
    assert instances(nvml, device, 19) == [7, 8, 9, 10, 11, 12, 13]
    refused(nvml, "INSUFFICIENT_RESOURCES", nvml.nvmlDeviceCreateGpuInstance, device, 19)


@pytest.mark.parametrize(
    ("profiles", "ids"),
    [([9, 9], [2, 1]), ([5, 9], [1, 2]), ([14, 14, 14], [5, 3, 4]), ([0], [0]), ([15], [6])],
)
def test_each_profile_has_ids_of_its_own_level(gpu, profiles, ids):
    nvml, device = gpu
    made = [info(nvml, nvml.nvmlDeviceCreateGpuInstance(device, each))[0] for each in profiles]
    assert made == ids


def test_an_instance_is_made_where_it_was_wanted_or_not_at_all(gpu):
    nvml, device = gpu
    create = nvml.nvmlDeviceCreateGpuInstanceWithPlacement
    assert info(nvml, create(device, 14, at(nvml, 2, 2))) == (4, 14, 2, 2)
    refused(nvml, "INSUFFICIENT_RESOURCES", create, device, 19, at(nvml, 3, 1))
    refused(nvml, "INSUFFICIENT_RESOURCES", create, device, 9, at(nvml, 0, 4))
    refused(nvml, "INVALID_ARGUMENT", create, device, 9, at(nvml, 2, 4))
    refused(nvml, "INVALID_ARGUMENT", create, device, 9, at(nvml, 4, 3))
    refused(nvml, "INVALID_ARGUMENT", create, device, 7, at(nvml, 0, 8))
    assert info(nvml, create(device, 9, at(nvml, 4, 4))) == (2, 9, 4, 4)


def test_what_is_left_counts_slices_engines_and_places(gpu):
    nvml, device = gpu

    def left():
        ask = nvml.nvmlDeviceGetGpuInstanceRemainingCapacity
        return {row[0]: ask(device, row[1]) for row in H100_PROFILES.values()}

    assert left() == {row[0]: row[5] for row in H100_PROFILES.values()}
    first = nvml.nvmlDeviceCreateGpuInstance(device, 9)
    second = nvml.nvmlDeviceCreateGpuInstance(device, 9)
    # Both halves of the memory are taken; the seventh compute slice has none.
    assert set(left().values()) == {0}
    nvml.nvmlGpuInstanceDestroy(second)
    assert left() == {
        "1g.10gb": 4,
        "2g.20gb": 2,
        "3g.40gb": 1,
        "4g.40gb": 1,
        "7g.80gb": 0,
        "1g.10gb+me": 1,
        "1g.20gb": 2,
    }
    nvml.nvmlGpuInstanceDestroy(first)
    nvml.nvmlDeviceCreateGpuInstance(device, 20)
    assert left()["1g.10gb+me"] == 0
    assert left()["1g.10gb"] == 6


def test_compute_instances_share_a_gpu_instance_slice_by_slice(gpu):
    nvml, device = gpu
    around = nvml.nvmlDeviceCreateGpuInstance(device, 9)

    def profile(number):
        found = nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(around, number, 0)
        return found.id, found.sliceCount, found.instanceCount, found.multiprocessorCount

    assert [profile(number) for number in range(3)] == [
        (0, 1, 3, 16),
        (1, 2, 1, 32),
        (2, 3, 1, 60),  # a 3g has multiprocessors that only the whole of it can use
    ]
    refused(nvml, "NOT_SUPPORTED", profile, 3)
    places = nvml.nvmlGpuInstanceGetComputeInstancePossiblePlacements
    kind = nvml.c_nvmlComputeInstancePlacement_t
    assert placements(places, around, 0, kind) == [(0, 1), (1, 1), (2, 1)]
    assert placements(places, around, 1, kind) == [(0, 2)]

    two = nvml.nvmlGpuInstanceCreateComputeInstance(around, 1)
    one = nvml.nvmlGpuInstanceCreateComputeInstance(around, 0)
    refused(nvml, "INSUFFICIENT_RESOURCES", nvml.nvmlGpuInstanceCreateComputeInstance, around, 0)
    refused(nvml, "INVALID_ARGUMENT", nvml.nvmlGpuInstanceCreateComputeInstance, around, 3)
    told = [nvml.nvmlComputeInstanceGetInfo(each) for each in (two, one)]
    assert [(t.id, t.profileId, t.placement.start, t.placement.size) for t in told] == [
        (0, 1, 0, 2),
        (1, 0, 2, 1),
    ]
    assert info(nvml, told[0].gpuInstance)[0] == 2
    remaining = nvml.nvmlGpuInstanceGetComputeInstanceRemainingCapacity
    assert [remaining(around, each) for each in (0, 1, 2)] == [0, 0, 0]
    nvml.nvmlComputeInstanceDestroy(two)
    assert [remaining(around, each) for each in (0, 1, 2)] == [2, 1, 0]
    refused(nvml, "NOT_FOUND", nvml.nvmlComputeInstanceGetInfo, two)


def devices(nvml, gpu):
    found = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
        except nvml.NVMLError_NotFound:
            break
    return found


def divided(nvml, gpu, *profiles):
    """Make GPU instances, each with one compute instance that takes all of it."""
    made = []
    for profile in profiles:
        around = nvml.nvmlDeviceCreateGpuInstance(gpu, profile)
        whole = {19: 0, 20: 0, 15: 0, 14: 1, 9: 2, 5: 3, 0: 4}[profile]
        made.append((around, nvml.nvmlGpuInstanceCreateComputeInstance(around, whole)))
    return made


def test_a_mig_device_is_found_by_index_and_uuid_and_says_what_it_is(gpu):
    nvml, device = gpu
    divided(nvml, device, 9, 19)
    found = devices(nvml, device)
    assert [nvml.nvmlDeviceGetName(each) for each in found] == [
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    ]
    uuids = [nvml.nvmlDeviceGetUUID(each) for each in found]
    assert len(set(uuids)) == 2
    assert all(uuid.startswith("MIG-") and len(uuid) == 40 for uuid in uuids)
    third = found[0]
    same = nvml.nvmlDeviceGetHandleByUUID(uuids[0])
    assert nvml.nvmlDeviceGetUUID(same) == uuids[0]
    assert nvml.nvmlDeviceIsMigDeviceHandle(third).value == 1
    assert nvml.nvmlDeviceIsMigDeviceHandle(device).value == 0
    parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(third)
    assert nvml.nvmlDeviceGetUUID(parent) == nvml.nvmlDeviceGetUUID(device)
    assert nvml.nvmlDeviceGetGpuInstanceId(third) == 2
    assert nvml.nvmlDeviceGetComputeInstanceId(third) == 0
    attributes = nvml.nvmlDeviceGetAttributes_v2(third)
    assert (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount) == (3, 3)
    assert (attributes.multiprocessorCount, attributes.memorySizeMB) == (60, 40448)
    assert nvml.nvmlDeviceGetMemoryInfo(third).total == 40448 << 20
    refused(nvml, "INVALID_ARGUMENT", nvml.nvmlDeviceGetMinorNumber, third)
    refused(nvml, "INVALID_ARGUMENT", nvml.nvmlDeviceGetAttributes_v2, device)


def test_a_device_that_is_made_again_has_another_uuid(gpu):
    nvml, device = gpu
    [(around, compute)] = divided(nvml, device, 9)
    [before] = [nvml.nvmlDeviceGetUUID(each) for each in devices(nvml, device)]
    nvml.nvmlComputeInstanceDestroy(compute)
    assert devices(nvml, device) == []
    refused(nvml, "NOT_FOUND", nvml.nvmlDeviceGetHandleByUUID, before)
    nvml.nvmlGpuInstanceCreateComputeInstance(around, 2)
    [after] = [nvml.nvmlDeviceGetUUID(each) for each in devices(nvml, device)]
    assert after != before


def test_nothing_with_something_in_it_is_destroyed(node):
    made = node()
    nvml, device = started(made)
    [(around, compute)] = divided(nvml, device, 9)
    refused(nvml, "IN_USE", nvml.nvmlGpuInstanceDestroy, around)
    made.command("occupy 0 4711 512 2 0")
    [mig] = devices(nvml, device)
    assert nvml.nvmlDeviceGetMemoryInfo(mig).used == 512 << 20
    [process] = nvml.nvmlDeviceGetComputeRunningProcesses(mig)
    assert (process.pid, process.gpuInstanceId, process.computeInstanceId) == (4711, 2, 0)
    refused(nvml, "IN_USE", nvml.nvmlComputeInstanceDestroy, compute)
    assert nvml.nvmlDeviceSetMigMode(device, 0) == nvml.NVML_ERROR_IN_USE
    made.command("release 0 4711")
    nvml.nvmlComputeInstanceDestroy(compute)
    nvml.nvmlGpuInstanceDestroy(around)
    refused(nvml, "NOT_FOUND", nvml.nvmlGpuInstanceGetInfo, around)
    assert instances(nvml, device, 9) == []


@pytest.mark.parametrize(
    ("architecture", "activation", "current"),
    [("ampere", "ERROR_RESET_REQUIRED", 0), ("hopper", "SUCCESS", 1), ("blackwell", "SUCCESS", 1)],
)
def test_ampere_changes_its_mode_with_a_reset_and_others_at_once(
    node, architecture, activation, current
):
    made = node(mode="off", changes={"gpu 0 architecture": architecture})
    nvml, device = started(made)
    assert nvml.nvmlDeviceSetMigMode(device, 1) == getattr(nvml, f"NVML_{activation}")
    assert nvml.nvmlDeviceGetMigMode(device) == [current, 1]
    made.command("reset 0")
    assert nvml.nvmlDeviceGetMigMode(device) == [1, 1]


def test_a_gpu_at_work_keeps_its_mode_until_it_is_reset(node):
    made = node(mode="off")
    nvml, device = started(made)
    made.command("occupy 0 77 100")
    assert nvml.nvmlDeviceSetMigMode(device, 1) == nvml.NVML_ERROR_IN_USE
    assert nvml.nvmlDeviceGetMigMode(device) == [0, 1]
    assert made.try_command("reset 0") == "line 1: gpu 0 is in use by process 77"
    made.command("release 0 77\nreset 0")
    assert nvml.nvmlDeviceGetMigMode(device) == [1, 1]


def test_a_reset_takes_all_instances_away(node):
    made = node()
    nvml, device = started(made)
    divided(nvml, device, 9, 19)
    made.command("reset 0")
    assert devices(nvml, device) == []
    assert nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, 0) == 1


def test_without_mig_mode_there_is_nothing_to_divide(node, machine, tmp_path):
    nvml, device = started(node(mode="off"))
    refused(nvml, "NOT_SUPPORTED", nvml.nvmlDeviceCreateGpuInstance, device, 19)
    refused(nvml, "NOT_SUPPORTED", nvml.nvmlDeviceGetGpuInstanceRemainingCapacity, device, 19)
    assert nvml.nvmlDeviceGetMaxMigDeviceCount(device) == 0
    # What would be possible is told all the same.
    assert nvml.nvmlDeviceGetGpuInstanceProfileInfo(device, 0).id == 19

    never = {"gpu 0 mig_mode": "none"}
    nvml, device = started(machine(gpus=1, changes=never, parent=tmp_path / "never"))
    refused(nvml, "NOT_SUPPORTED", nvml.nvmlDeviceSetMigMode, device, 1)
    refused(nvml, "NOT_SUPPORTED", nvml.nvmlDeviceGetGpuInstanceProfileInfo, device, 0)


def test_another_process_sees_the_instances_and_hears_of_them(node):
    made = node(gpus=2)
    nvml, device = started(made)
    events = nvml.nvmlEventSetCreate()
    nvml.nvmlDeviceRegisterEvents(device, nvml.nvmlEventMigConfigChange, events)
    script = """
import pynvml, sys
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
made = pynvml.nvmlDeviceCreateGpuInstance(gpu, 9)
pynvml.nvmlGpuInstanceCreateComputeInstance(made, 2)
print(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)))
"""
    uuid = made.run(script).strip()
    assert [nvml.nvmlDeviceGetUUID(each) for each in devices(nvml, device)] == [uuid]
    heard = [nvml.nvmlEventSetWait(events, 1000) for _ in range(2)]
    assert [each.gpuInstanceId for each in heard] == [2, 2]
    assert [each.computeInstanceId for each in heard] == [0xFFFFFFFF, 0]


def test_instances_have_capability_files_as_long_as_they_live(node):
    made = node(gpus=2)
    shown = made.folder / "proc/driver/nvidia/capabilities"
    shown.mkdir(parents=True)
    nodes = made.folder / "dev/nvidia-caps"
    nodes.mkdir(parents=True)
    nvml = made.pynvml()
    nvml.nvmlInit()
    second = nvml.nvmlDeviceGetHandleByIndex(1)
    [(around, compute)] = divided(nvml, second, 9)

    def files():
        return {
            str(path.relative_to(shown)): path.read_text().splitlines()[0]
            for path in shown.rglob("access")
        }

    # Two of the node's own, fifteen GPU instances of nine entries each on GPU 0, two before ours.
    minor = 3 + 15 * 9 + 2 * 9
    assert files() == {
        "gpu1/mig/gi2/access": f"DeviceFileMinor: {minor}",
        "gpu1/mig/gi2/ci0/access": f"DeviceFileMinor: {minor + 1}",
    }
    names = {f"nvidia-cap{minor}", f"nvidia-cap{minor + 1}"}
    assert {path.name for path in nodes.iterdir()} == names

    nvml.nvmlComputeInstanceDestroy(compute)
    assert set(files()) == {"gpu1/mig/gi2/access"}
    nvml.nvmlGpuInstanceDestroy(around)
    assert files() == {}
    assert list(nodes.iterdir()) == []


def test_files_that_a_killed_process_left_behind_are_put_right_by_the_next(node):
    made = node()
    nvml, device = started(made)
    divided(nvml, device, 9)
    shown = made.folder / "proc/driver/nvidia/capabilities"
    stale = shown / "gpu0/mig/gi7/ci0"
    stale.mkdir(parents=True)
    (stale / "access").write_text("DeviceFileMinor: 66\n")
    made.run("import pynvml; pynvml.nvmlInit()")
    found = {str(path.relative_to(shown)) for path in shown.rglob("access")}
    assert found == {"gpu0/mig/gi2/access", "gpu0/mig/gi2/ci0/access"}


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("occupy 0 1 1", "gpu 0 is in MIG mode: name a GPU instance and a compute instance"),
        ("occupy 0 1 1 2 0", "gpu 0 has no compute instance 0 in a GPU instance 2"),
        ("release 0 1", "gpu 0 has no process 1"),
        ("reset 1", "'1': expected the number of a gpu, below 1"),
    ],
)
def test_commands_that_cannot_be_done_say_why(node, command, error):
    assert node().try_command(command) == f"line 1: {error}"
