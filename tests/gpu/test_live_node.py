"""Read-only checks on a machine with a GPU; skipped with the reason elsewhere."""

import shutil
import subprocess

import pytest

from agent.cli import topology
from agent.discovery.inventory import observe
from agent.discovery.library import Session
from agent.discovery.locality import read_overrides
from agent.model.errors import NoDriverError
from agent.model.machine import Machine


@pytest.fixture(scope="module")
def inventory():
    try:
        session = Session(Machine.live())
    except NoDriverError as error:
        pytest.skip(f"needs a GPU: {error}")
    with session:
        yield observe(session, overrides=read_overrides(session.machine.locality_file))


def test_every_gpu_the_driver_lists_is_there(inventory):
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid,name,pci.bus_id", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    expected = [tuple(cell.strip() for cell in line.split(",")) for line in listed]
    assert [(gpu.uuid, gpu.name) for gpu in inventory.gpus] == [row[:2] for row in expected]
    assert [gpu.address for gpu in inventory.gpus] == [
        row[2].lower().removeprefix("0000") for row in expected
    ]


def test_device_nodes_exist(inventory):
    assert inventory.control_nodes
    assert all(Machine.live().path(gpu.device_node).exists() for gpu in inventory.gpus)


def test_the_gpu_cells_are_those_of_nvidia_smi(inventory):
    if shutil.which("nvidia-smi") is None:
        pytest.skip("needs nvidia-smi")
    printed = subprocess.run(
        ["nvidia-smi", "topo", "-m"], capture_output=True, text=True, check=True
    ).stdout
    count = len(inventory.gpus)
    rows = [line.split("\t") for line in printed.splitlines() if line.startswith("GPU")][:count]
    theirs = [[cell.strip() for cell in row[1 : 1 + count]] for row in rows]

    ours = [[topology.cell(inventory, a, b) for b in inventory.gpus] for a in inventory.gpus]
    assert ours == theirs
