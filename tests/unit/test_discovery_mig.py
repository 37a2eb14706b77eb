"""What discovery reads of MIG, from a simulated machine through the driver's own calls."""

import json
import os
import subprocess
import sys

import pytest

from agent.simulation import machines

READ = """
import json, sys, pynvml
from agent.discovery import mig
import msgspec
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
exec(sys.argv[1])
profiles = mig.read_profiles(gpu)
instances = mig.read_instances(gpu, profiles)
found = {"profiles": profiles, "instances": instances, "uuids": mig.device_uuids(gpu)}
print(msgspec.json.encode(found).decode())
"""
DIVIDE = """
pynvml.nvmlDeviceSetMigMode(gpu, 1)
def divide(profile, *compute):
    made = pynvml.nvmlDeviceCreateGpuInstance(gpu, profile)
    for each in compute:
        pynvml.nvmlGpuInstanceCreateComputeInstance(made, each)
"""


@pytest.fixture
def read(tmp_path):
    """Return what is read of GPU 0 of a machine, after a program has done something to it."""

    def reading(profile, program="", *, reset=False):
        folder = tmp_path / profile
        machines.create(profile, folder)
        if reset:
            machines.change(folder, "0", {"mig_pending": "on"})
            machines.reset(folder, "0")
        done = subprocess.run(
            [sys.executable, "-c", READ, program],
            env=os.environ | {"LD_LIBRARY_PATH": str(folder / "lib")},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return json.loads(done.stdout)

    return reading


def test_what_a_gpu_offers_is_read_while_mig_is_off(read):
    found = read("dgx-h100")
    offered = {each["name"]: each for each in found["profiles"]}
    assert list(offered) == [
        *("1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
    ]
    third = offered["3g.40gb"]
    assert (third["id"], third["enum"], third["slices"], third["most"]) == (9, 2, 3, 2)
    assert third["placements"] == [{"start": 0, "size": 4}, {"start": 4, "size": 4}]
    assert [(c["id"], c["slices"], c["multiprocessors"], c["most"]) for c in third["compute"]] == [
        (0, 1, 16, 3),
        (1, 2, 32, 1),
        (2, 3, 60, 1),
    ]
    assert found["instances"] == []
    assert found["uuids"] == []


def test_a_gpu_without_mig_offers_nothing(read):
    assert read("t4-4x") == {"profiles": [], "instances": [], "uuids": []}


def test_instances_are_read_with_their_places_and_uuids(read):
    found = read("dgx-h100", DIVIDE + "divide(9, 1, 0); divide(19)")
    third, first = found["instances"]
    assert (third["id"], third["profile"], third["placement"]) == (2, 9, {"start": 4, "size": 4})
    assert (first["id"], first["profile"], first["placement"]) == (7, 19, {"start": 0, "size": 1})
    assert [(each["id"], each["profile"]) for each in third["compute"]] == [(0, 1), (1, 0)]
    assert first["compute"] == []
    assert [each["uuid"] for each in third["compute"]] == found["uuids"]
    assert all(uuid.startswith("MIG-") for uuid in found["uuids"])


@pytest.mark.parametrize("profile", ["dgx-a100", "dgx-h100", "dgx-b200", "gb200-tray", "gh200"])
def test_compute_instances_are_foretold_as_the_driver_tells_them(read, profile):
    """Make each GPU instance in turn and compare with what was read before one existed."""
    program = """
if not pynvml.nvmlDeviceGetMigMode(gpu)[0]:
    pynvml.nvmlDeviceSetMigMode(gpu, 1)
for each in mig.read_profiles(gpu):
    made = pynvml.nvmlDeviceCreateGpuInstance(gpu, each.id)
    ask = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo
    told = [mig.optional(ask, made, number, 0) for number in mig.COMPUTE_NUMBERS]
    told = [(t.id, t.sliceCount, t.multiprocessorCount, t.instanceCount) for t in told if t]
    known = [(c.id, c.slices, c.multiprocessors, c.most) for c in each.compute]
    assert told == known, (each.name, told, known)
    pynvml.nvmlGpuInstanceDestroy(made)
"""
    assert read(profile, program, reset=profile == "dgx-a100")["instances"] == []
