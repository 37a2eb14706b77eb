"""A change of how GPUs are divided that dies or fails anywhere ends complete, or undone."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from agent.simulation import machines

TRIALS = Path(__file__).parents[1] / "support" / "partition_trials.py"

# GPU 0 keeps its instance at 6, on which a process works; GPU 1 gets MIG mode with it.
BEFORE = {"0": [[9, 0, [2]], [19, 4, []], [19, 6, [0]]], "1": None}
AFTER = {"0": [[14, 0, [0, 0]], [14, 2, [1]], [19, 6, [0]]], "1": [[9, 4, [2]]]}
WORKER = 4711


def trials(folder, before, after, what, *arguments):
    done = subprocess.run(
        [
            sys.executable,
            TRIALS,
            folder,
            json.dumps(before),
            json.dumps(after),
            what,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def dgx(tmp_path):
    """Make a machine on which a process works at one instance of GPU 0."""
    folder = tmp_path / "dgx"
    machines.create("dgx-h100", folder)
    trials(folder, AFTER, BEFORE, "nothing")
    machines.occupy(folder, "0", WORKER, instance=(13, 0))
    return folder


@pytest.fixture
def dgx_a100(tmp_path):
    folder = tmp_path / "dgx"
    machines.create("dgx-a100", folder)
    return folder


def assert_whole(found, trial):
    ends = (found["before"], found["after"])
    assert trial["divided"] in [end["divided"] for end in ends]
    assert trial["left"] == []
    assert trial["pending"] == []
    # The instance at work is the same one all along: a new one would have another UUID.
    assert trial["at_work"] == found["before"]["at_work"]


def test_killed_at_any_moment_it_is_finished_or_undone_by_the_next_process(dgx):
    found = trials(dgx, BEFORE, AFTER, "kill_everywhere")

    assert len(found["before"]["at_work"]) == 1
    # 11 steps: around each call, before each line of the journal, and its begin and end.
    assert len(found["trials"]) > 3 * 11
    for trial in found["trials"]:
        assert_whole(found, trial)
        if trial["outcomes"]:
            assert trial["outcomes"] == ["finished"]
            assert trial["divided"] == found["after"]["divided"]
        else:
            # Either it had not begun, or it had ended.
            assert trial["between"]["divided"] == trial["divided"]
    assert {tuple(trial["outcomes"]) for trial in found["trials"]} == {(), ("finished",)}


def test_killed_again_while_it_is_finished_it_is_finished_all_the_same(dgx):
    found = trials(dgx, BEFORE, AFTER, "kill_recovery_everywhere", 19)

    assert len(found["trials"]) > 10
    for trial in found["trials"]:
        assert_whole(found, trial)
        assert trial["divided"] == found["after"]["divided"]


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (pynvml.NVML_ERROR_UNKNOWN, "RolledBackError"),
        (pynvml.NVML_ERROR_IN_USE, "BusyError"),
    ],
)
def test_whatever_call_fails_everything_is_put_back(dgx, code, raised):
    found = trials(dgx, BEFORE, AFTER, "fail_calls", code)

    assert len(found["trials"]) == 2 * 11
    for trial in found["trials"]:
        assert trial["raised"] == raised, trial["said"]
        assert trial["said"].endswith("everything was put back")
        assert trial["divided"] == found["before"]["divided"]
        assert_whole(found, trial)


def test_a_disk_that_fails_leaves_the_gpus_whole(dgx):
    found = trials(dgx, BEFORE, AFTER, "fail_disk", errno.ENOSPC)

    assert len(found["trials"]) > 11
    for trial in found["trials"]:
        assert trial["divided"] in [found["before"]["divided"], found["after"]["divided"]]
        assert trial["at_work"] == found["before"]["at_work"]


def test_a_gpu_that_needs_a_reset_is_left_in_no_mode_between(dgx_a100):
    found = trials(dgx_a100, {"0": None}, {"0": [[9, 0, [2]]]}, "kill_everywhere", 3)

    assert found["after"]["divided"]["0"] == [[9, 0, [2]]]
    # Three steps and a reset.
    assert len(found["trials"]) > (3 * 3 + 2) // 3
    for trial in found["trials"]:
        assert_whole(found, trial)
