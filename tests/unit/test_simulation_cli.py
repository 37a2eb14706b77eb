"""`plumbline machine`, as a shell runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.machine import app
from tests.machines.matrix import HERE

PLUMBLINE = Path(sys.executable).with_name("plumbline")
CAPTURE = HERE / "k80-4gpu-mlx4.txt"


def run(*words, text=None):
    return CliRunner().invoke(app, [str(word) for word in words], input=text)


def shell(*words):
    done = subprocess.run(
        [PLUMBLINE, "machine", *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_profiles_are_listed():
    lines = run("list").stdout.splitlines()

    assert lines[-1] == (
        "t4-4x              4 T4 in one socket, no NVLink, pairs below one host bridge, "
        "plain Ethernet"
    )
    assert {"name", "summary"} == set(json.loads(run("list", "-o", "json").stdout)[0])


def test_a_machine_is_made_shown_broken_and_mended(tmp_path):
    folder = tmp_path / "t4"

    made = run("create", "t4-4x", folder)
    assert made.exit_code == 0
    assert made.stdout.splitlines()[0] == f"{folder}: t4-4x, driver 570.124.06"

    assert run("lose", folder, "1", "--silently").exit_code == 0
    assert run("xid", folder, "0", "48").exit_code == 0
    shown = run("show", folder).stdout.splitlines()
    assert [line.endswith("LOST") for line in shown[2:6]] == [False, True, False, False]
    assert shown[6] == "  NICs  ens1f0 ens1f1"

    assert run("restore", folder, "1").exit_code == 0
    assert run("set", folder, "2", "temperature_gpu_c=88").exit_code == 0
    state = json.loads(run("show", folder, "-o", "json").stdout)
    assert [gpu["lost"] for gpu in state["gpus"]] == [False] * 4


def test_a_capture_is_imported_with_notes(tmp_path):
    found = run("import", CAPTURE, tmp_path / "k80")

    assert found.exit_code == 0
    assert found.stderr.splitlines() == [
        "note: GPUs taken for Tesla K80, from their NVLinks and NUMA nodes: --gpu names others",
        "note: NUMA nodes are not told for every GPU: taken from CPU affinities and distances",
    ]
    assert "Tesla K80" in found.stdout


def test_a_capture_is_imported_from_standard_input(tmp_path):
    found = run(
        "import", "-", tmp_path / "v100", "--gpu", "v100-sxm2-16gb", text=CAPTURE.read_text()
    )

    assert found.exit_code == 0
    assert found.stdout.splitlines()[0] == f"{tmp_path}/v100: capture, driver 570.124.06"
    assert "Tesla V100-SXM2-16GB" in found.stdout


MIG_PROGRAM = """
import pynvml as n
n.nvmlInit()
gpu = n.nvmlDeviceGetHandleByIndex(2)
n.nvmlDeviceSetMigMode(gpu, 1)
instance = n.nvmlDeviceCreateGpuInstance(gpu, 9)
print(n.nvmlGpuInstanceGetInfo(instance).id)
compute = n.nvmlGpuInstanceCreateComputeInstance(instance, 2)
input()
try:
    n.nvmlComputeInstanceDestroy(compute)
except n.NVMLError_InUse:
    print("in use")
input()
print(n.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 0))
"""


def test_a_process_at_work_on_an_instance_holds_it_until_it_ends(tmp_path):
    folder = tmp_path / "dgx"
    run("create", "dgx-h100", folder)
    program = subprocess.Popen(
        [sys.executable, "-c", MIG_PROGRAM],
        env={"LD_LIBRARY_PATH": str(folder / "lib")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdout.readline() == "2\n"
        assert run("occupy", folder, "2", "4711", "--instance", "2", "0").exit_code == 0
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "in use\n"

        refused = shell("reset", folder, "2")
        assert refused[0] == 2
        assert "gpu 2 is in use by process 4711" in refused[2]
        assert run("release", folder, "2", "4711").exit_code == 0
        assert run("reset", folder, "2").exit_code == 0
        program.stdin.write("\n")
        program.stdin.close()
        assert program.stdout.readline() == "1\n"


@pytest.mark.parametrize(
    "command",
    ["create", "import", "show", "xid", "lose", "restore", "occupy", "release", "reset", "set"],
)
def test_every_command_has_an_example(command):
    assert "Example:" in run(command, "--help").stdout


def test_bad_input_is_said_on_standard_error_with_code_2(tmp_path):
    code, out, error = shell("create", "t4", tmp_path / "t4")

    assert (code, out) == (2, "")
    assert error == (
        "error: no profile 't4': the nearest is 't4-4x'; 'plumbline machine list' shows all, "
        "and a path names a file of your own\n"
    )


def test_a_refused_capture_shows_its_line(tmp_path):
    (tmp_path / "topo.txt").write_text("\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tPIY\t0-3\n")

    code, out, error = shell("import", tmp_path / "topo.txt", tmp_path / "machine")

    assert (code, out) == (2, "")
    assert error == (
        f"error: {tmp_path}/topo.txt: line 2: GPU0-GPU1 is 'PIY', which is no word of "
        "nvidia-smi; the nearest is 'PIX'\n    GPU0 X PIY 0-3\n"
    )
    assert not (tmp_path / "machine").exists()
