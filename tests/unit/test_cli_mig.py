"""`plumbline mig`, as a shell runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mig_machine import divide

from agent.simulation import machines

PLUMBLINE = Path(sys.executable).with_name("plumbline")


def mig(*words):
    done = subprocess.run(
        [PLUMBLINE, "mig", *map(str, words)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def dgx(tmp_path):
    folder = tmp_path / "dgx"
    machines.create("dgx-h100", folder)
    return folder


def test_status_shows_instances_and_who_is_at_work_on_them(dgx):
    divide(dgx, 1, "9:2", "19:0", "19", "14:0,0")
    machines.occupy(dgx, "1", 4711, instance=(2, 0))
    machines.occupy(dgx, "3", 42)

    code, out, error = mig("status", "--machine", dgx, "-o", "json")

    assert (code, error) == (0, "")
    gpus = json.loads(out)
    assert [gpu["mode"] for gpu in gpus] == ["off", "on", *["off"] * 6]
    assert [gpu["pids"] for gpu in gpus] == [[], [], [], [42], [], [], [], []]
    shown = [
        (each["gpu_instance"], each["compute_instance"], each["profile"], each["start"])
        for each in gpus[1]["instances"]
    ]
    assert shown == [
        (7, 0, "1g.10gb", 0),
        (8, None, "1g.10gb", 1),
        (4, 0, "1c.2g.20gb", 2),
        (4, 1, "1c.2g.20gb", 2),
        (2, 0, "3g.40gb", 4),
    ]
    assert [each["pids"] for each in gpus[1]["instances"]] == [[], [], [], [], [4711]]
    assert [bool(each["uuid"]) for each in gpus[1]["instances"]] == [True, False, True, True, True]


def test_the_table_has_a_line_for_each_instance(dgx):
    divide(dgx, 0, "9:2", "9:2")
    rows = mig("status", "--machine", dgx, "--gpu", "0")[1].split("\n")[3:5]
    first, second = (row.split() for row in rows)
    assert first[:7] == ["0", "on", "1", "0", "3g.40gb", "0-3", "39.5"]
    assert second[:5] == ["2", "0", "3g.40gb", "4-7", "39.5"]


def test_a_mode_that_waits_for_a_reset_is_said(tmp_path):
    folder = tmp_path / "a100"
    machines.create("dgx-a100", folder)
    machines.change(folder, "2", {"mig_pending": "on"})
    rows = mig("status", "--machine", folder)[1].splitlines()
    assert [row.split()[1:6] for row in rows if row.split()[:1] == ["2"]] == [
        ["off", "(on", "after", "a", "reset)"]
    ]


def test_a_gpu_that_cannot_do_mig_says_so(tmp_path):
    folder = tmp_path / "t4"
    machines.create("t4-4x", folder)
    assert {
        gpu["mode"] for gpu in json.loads(mig("status", "--machine", folder, "-o", "json")[1])
    } == {"none"}


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(dgx):
    code, out, error = mig("status", "--machine", dgx, "--gpu", "8")
    assert (code, out) == (2, "")
    assert error.startswith("error: --gpu: there is no GPU '8'; there are: 0 (GPU-9b54f88a-")


def test_the_command_has_an_example():
    assert "Example:" in mig("status", "--help")[1]
