"""`plumbline mig plan`, `assert`, `export` and `layouts`, as a shell runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mig_machine import divide

from agent.simulation import machines

PLUMBLINE = Path(sys.executable).with_name("plumbline")
PARTED = """\
version: v1
mig-configs:
  half:
  - devices: [0, 1]
    mig-enabled: true
    mig-devices: {3g.40gb: 2}
  - devices: [2]
    mig-enabled: true
    mig-devices: {1c.3g.40gb: 3, 1g.10gb+me: 1}
  wrong:
  - devices: all
    mig-enabled: true
    mig-devices: {3g.20gb: 2}
"""
OWN = """\
version: v1
plumbline:
  mig:
    layouts:
      exact:
      - gpus: {moduleId: 1}
        instances:
        - {profile: 3g.40gb, start: 4, compute: {1c.3g.40gb: 3}}
      - gpus: {index: 7}
        keep: true
"""


def mig(*words, **environ):
    done = subprocess.run(
        [PLUMBLINE, "mig", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environ,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def dgx(tmp_path):
    folder = tmp_path / "dgx"
    machines.create("dgx-h100", folder)
    return folder


@pytest.fixture
def parted(tmp_path):
    path = tmp_path / "parted.yaml"
    path.write_text(PARTED)
    return path


def test_what_plan_prints_is_what_apply_does(dgx, parted):
    words = ("-f", parted, "-c", "half", "--machine", dgx)
    code, out, _ = mig("plan", *words)
    assert code == 0
    assert out.startswith("GPUs 0-1 (NVIDIA H100 80GB HBM3): 3g.40gb at 0 + 3g.40gb at 4\n")
    assert "GPUs 3-7 (NVIDIA H100 80GB HBM3): as it is\n" in out
    assert out.endswith("17 steps; `plumbline mig apply` executes them\n")

    planned = json.loads(mig("plan", *words, "-o", "json")[1])
    code, out, told = mig("apply", *words, "-o", "json")

    assert code == 0
    assert json.loads(out) == planned
    steps = [step for gpu in planned["gpus"] for step in gpu["steps"]]
    assert [line.split(": ", 1)[1] for line in told.splitlines()] == steps
    assert planned["steps"] == len(steps) == 17
    assert mig("apply", *words)[1].endswith("nothing was to be done\n")
    assert mig("assert", *words)[0] == 0
    assert mig("assert", "-c", "all-disabled", "--machine", dgx)[0] == 1


def test_plan_names_who_is_in_the_way_and_what_can_be_had(dgx):
    divide(dgx, 0, "9:2", "9:2")
    machines.occupy(dgx, "0", 4711, instance=(2, 0))

    code, out, error = mig("plan", "-c", "all-1g.10gb", "--gpu", "0", "--machine", dgx)

    assert (code, error) == (4, "")
    assert "GPU 0 (NVIDIA H100 80GB HBM3): blocked\n  3g.40gb at 4 is held by process 4711" in out
    assert "possible now: 1g.10gb at 0" in out


def test_what_no_gpu_offers_is_refused_with_what_it_offers(dgx, parted):
    for command in ("plan", "apply", "assert"):
        code, _, error = mig(command, "-f", parted, "-c", "wrong", "--machine", dgx)
        assert code == 2
        assert "no '3g.20gb', only" in error
        assert "did you mean '3g.40gb'?" in error
    assert mig("assert", "-c", "all-disabled", "--machine", dgx)[0] == 0


def test_unknown_names_are_answered_with_the_nearest(dgx, parted):
    assert "did you mean 'half'?" in mig("plan", "-f", parted, "-c", "halv", "--machine", dgx)[2]
    assert "the layouts are half, wrong" in mig("plan", "-f", parted, "--machine", dgx)[2]
    code, _, error = mig("plan", "-c", "all-balanced", "--gpu", "0,9", "--machine", dgx)
    assert (code, "there is no GPU '9'" in error) == (2, True)


def test_layouts_of_our_own_configuration_place_exactly(dgx, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(OWN)

    assert mig("apply", "-f", path, "--machine", dgx)[0] == 0

    gpus = json.loads(mig("status", "--machine", dgx, "-o", "json")[1])
    # Module ids are counted from 1 on these boards.
    found = [[(each["profile"], each["start"]) for each in gpu["instances"]] for gpu in gpus]
    assert [("1c.3g.40gb", 4)] * 3 in found
    assert [gpu["mode"] for gpu in gpus].count("on") == 1


def test_what_mig_parted_reads_from_its_environment_is_read(dgx, parted):
    environ = {"MIG_PARTED_CONFIG_FILE": str(parted), "MIG_PARTED_SELECTED_CONFIG": "half"}
    assert mig("apply", "--machine", dgx, **environ)[0] == 0
    assert mig("assert", "-f", parted, "-c", "half", "--machine", dgx)[0] == 0


def test_an_export_is_a_layout_that_leads_back(dgx, parted, tmp_path):
    mig("apply", "-f", parted, "-c", "half", "--machine", dgx)
    code, out, _ = mig("export", "--machine", dgx)
    assert code == 0
    exported = yaml.safe_load(out)
    assert list(exported["mig-configs"]) == ["current"]
    path = tmp_path / "export.yaml"
    path.write_text(out)

    assert mig("assert", "-f", path, "--machine", dgx)[0] == 0
    mig("apply", "-c", "all-7g.80gb", "--machine", dgx)
    assert mig("apply", "-f", path, "--machine", dgx)[0] == 0
    assert mig("assert", "-f", parted, "-c", "half", "--machine", dgx)[0] == 0


def test_layouts_says_which_fit_and_which_is_now(dgx, parted):
    found = json.loads(mig("layouts", "--machine", dgx, "-o", "json")[1])
    states = {each["name"]: each["state"] for each in found}
    assert states["all-disabled"] == "now"
    assert {state for name, state in states.items() if name != "all-disabled"} == {"fits"}
    assert {"all-enabled", "all-balanced", "all-1g.10gb", "all-1g.10gb.me"} < set(states)

    code, out, _ = mig("layouts", "-f", parted, "--machine", dgx)
    assert code == 0
    assert out.startswith("half   fits\nwrong  unfit\n  ")


def test_layouts_fit_also_while_processes_are_at_work(dgx):
    divide(dgx, 0, "9:2")
    machines.occupy(dgx, "0", 4711, instance=(2, 0))

    code, out, error = mig("layouts", "--machine", dgx, "-o", "json")

    assert (code, error) == (0, "")
    assert {each["state"] for each in json.loads(out)} == {"fits"}


def test_a_node_that_cannot_do_mig_says_so(tmp_path):
    folder = tmp_path / "t4"
    machines.create("t4-4x", folder)
    for command in ("plan", "layouts", "export"):
        code, _, error = mig(command, "--machine", folder)
        assert code == 2
        assert "no GPU of this node can do MIG" in error


def test_without_a_driver_nothing_is_planned(tmp_path):
    folder = tmp_path / "empty"
    code, _, error = mig("plan", "-c", "all-balanced", "--machine", folder)
    assert code == 2
    assert "does not exist" in error
    code, _, error = mig("plan", "-c", "all-balanced", "--driver-root", tmp_path)
    assert code == 3
    assert "no NVIDIA driver library" in error
