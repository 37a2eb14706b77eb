"""`plumbline topo`, `inventory` and `fit`, run as a person or a script runs them."""

import json
import subprocess
import sys

import pytest
import yaml

from agent.simulation import machines
from tests.machines import matrix
from tests.machines.test_import_classes import nic_name


def plumbline(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "agent.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def printed_cells(text):
    """Return {(row, column): word} of a printed matrix, NICs by the names of its legend."""
    table, _, legend = text.partition("\n\n")
    names = dict(
        line.strip().split(": ") for line in legend.splitlines() if line.startswith("  NIC")
    )
    header, *rows = [[cell.strip() for cell in line.split("\t")] for line in table.splitlines()]
    columns = header[1 : header.index("CPU Affinity")]
    return {
        (names.get(row[0], row[0]), names.get(column, column)): word
        for row in rows
        for column, word in zip(columns, row[1:], strict=False)
        if word != "X"
    }


@pytest.mark.parametrize("name", matrix.CAPTURES)
def test_topo_prints_the_classes_of_the_capture(built, name):
    done = plumbline("topo", "--machine", str(built[name]))

    assert done.returncode == 0, done.stderr
    printed = printed_cells(done.stdout)
    expected = {(nic_name(a), nic_name(b)): w for (a, b), w in matrix.cells(name).items()}
    assert expected
    assert {pair: printed[pair] for pair in expected} == expected


def test_topo_prints_rows_as_nvidia_smi_does(built):
    capture = matrix.text("dgx-h100-12nic").splitlines()
    header = next(i for i, line in enumerate(capture) if line.startswith("\tGPU0"))

    done = plumbline("topo", "--machine", str(built["dgx-h100"]))

    ours = done.stdout.splitlines()
    # The capture stops after NIC5.
    assert ours[: len(capture) - header] == capture[header:]


def test_topo_as_json_tells_every_pair(built):
    done = plumbline("topo", "--machine", str(built["dgx-1v"]), "-o", "json")
    document = json.loads(done.stdout)

    indexes = {gpu["uuid"]: gpu["index"] for gpu in document["gpus"]}
    links = {
        (indexes[p["a"]], indexes[p["b"]]): p["nvlinks"]
        for p in document["pairs"]
        if p["a"] in indexes and p["b"] in indexes
    }
    # The hybrid cube mesh: two links on these pairs, one or none on the others.
    double = {pair for pair, count in links.items() if count == 2}
    assert double == {(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)}
    devices = len(document["gpus"]) + len(document["nics"])
    assert len(document["pairs"]) == devices * (devices - 1) // 2


def test_the_matrix_has_no_nics_without_rdma(built):
    done = plumbline("topo", "--machine", str(built["dgx-1v"]))

    assert "NIC3: mlx5_3" in done.stdout
    assert "NIC4" not in done.stdout


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_inventory_is_a_document(built, form, read):
    document = read(
        plumbline("inventory", "--machine", str(built["gb200-tray"]), "-o", form).stdout
    )

    assert [gpu["module_id"] for gpu in document["gpus"]] == [2, 1, 4, 3]
    assert [gpu["numa_node"] for gpu in document["gpus"]] == [0, 0, 1, 1]
    assert [gpu["memory_numa_node"] for gpu in document["gpus"]] == [2, 10, 18, 26]
    assert document["nvmes"]
    assert all(gpu["fabric"]["state"] == "completed" for gpu in document["gpus"])
    assert document["unavailable"] == []


def test_inventory_tells_links_and_switches(built):
    done = plumbline("inventory", "--machine", str(built["dgx-h100"]), "-o", "json")
    document = json.loads(done.stdout)

    assert {
        (g["position"]["path_generation"], g["position"]["path_width"]) for g in document["gpus"]
    } == {(5, 16)}
    assert all(gpu["position"]["acs_redirect"] in (True, False) for gpu in document["gpus"])
    assert len(document["nvswitches"]) == 4
    assert not set(document["nvswitches"]) & {nic["address"] for nic in document["nics"]}


def test_inventory_lists_a_lost_gpu_with_the_reason(tmp_path):
    machines.create("t4-4x", tmp_path / "t4")
    machines.lose(tmp_path / "t4", "2")

    document = json.loads(
        plumbline("inventory", "--machine", str(tmp_path / "t4"), "-o", "json").stdout
    )
    table = plumbline("inventory", "--machine", str(tmp_path / "t4")).stdout

    assert [gpu["index"] for gpu in document["gpus"]] == [0, 1, 3]
    assert [gpu["index"] for gpu in document["unavailable"]] == [2]
    assert "lost" in document["unavailable"][0]["reason"].lower()
    assert "GPU 2" in table


@pytest.mark.parametrize("command", ["topo", "inventory", "fit"])
def test_without_a_driver_they_say_so_and_exit_3(command, tmp_path):
    done = plumbline(command, "--driver-root", str(tmp_path), env={"PATH": "/usr/bin:/bin"})
    if done.returncode == 0:
        pytest.skip("this machine has a driver")

    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: no NVIDIA driver library")


@pytest.mark.parametrize("command", ["topo", "inventory", "fit"])
def test_a_folder_that_is_no_machine_is_bad_input(command, tmp_path):
    done = plumbline(command, "--machine", str(tmp_path))

    assert done.returncode == 2
    assert "plumbline machine create" in done.stderr


def test_a_reader_that_leaves_is_no_error(built):
    done = subprocess.run(
        f"{sys.executable} -m agent.cli.main topo --machine {built['dgx-h100']} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr == ""
