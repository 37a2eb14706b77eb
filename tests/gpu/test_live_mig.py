"""Read-only checks of MIG where a GPU can do it; skipped with the reason elsewhere."""

import re
import subprocess

import pytest

from agent.discovery.library import Session
from agent.discovery.mig_gpus import read_mig_gpus
from agent.model.errors import NoDriverError
from agent.model.machine import Machine
from agent.partition.goal import divisible, plan
from agent.planning.layout_generation import generate_layouts

ROW = re.compile(r"\|\s+(\d+)\s+MIG (\S+)\s+(\d+)\s+\d+/(\d+)\s+([\d.]+)")
PLACES = re.compile(r"GPU\s+(\d+) Profile ID\s+(\d+) Placements?\s*: \{([\d,]+)\}:(\d+)")


@pytest.fixture(scope="module")
def gpus():
    try:
        session = Session(Machine.live())
    except NoDriverError as error:
        pytest.skip(f"needs a GPU: {error}")
    with session:
        found = [each for each in read_mig_gpus() if each.capable and each.profiles]
    if not found:
        pytest.skip("needs a GPU that can do MIG")
    return found


def smi(option):
    command = ["nvidia-smi", "mig", option]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_profiles_are_those_that_nvidia_smi_lists(gpus):
    theirs = {
        (int(gpu), name, int(id_), int(most), memory)
        for gpu, name, id_, most, memory in ROW.findall(smi("-lgip"))
    }
    ours = {
        (gpu.index, each.name, each.id, each.most, f"{each.memory_mib / 1024:.2f}")
        for gpu in gpus
        for each in gpu.profiles
    }
    assert ours == theirs


def test_placements_are_those_that_nvidia_smi_lists(gpus):
    theirs = {
        (int(gpu), int(id_), int(start), int(size))
        for gpu, id_, starts, size in PLACES.findall(smi("-lgipp"))
        for start in starts.split(",")
    }
    ours = {
        (gpu.index, each.id, place.start, place.size)
        for gpu in gpus
        for each in gpu.profiles
        for place in each.placements
    }
    assert ours == theirs


def test_as_it_is_divided_nothing_is_to_be_done(gpus):
    assert generate_layouts([divisible(each) for each in gpus])
    goal = {each.uuid: None for each in gpus if not each.enabled}
    assert plan(gpus, goal, {}) == ()
