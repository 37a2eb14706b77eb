"""An agent that is killed at any step of a claim leaves nothing that the next one does not know."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.simulation import machines

SUPPORT = Path(__file__).parent.parent / "support"
KILLED = 9


def trials(tmp_path, *words, program="claim_trials.py"):
    machine, folder = tmp_path / "machine", tmp_path / "state"
    machines.create("dgx-h100", machine)
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, SUPPORT / program, machine, folder, *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("beside", [(), ("beside",)])
def test_killed_while_preparing(tmp_path, beside):
    found = trials(tmp_path, "prepare", *beside)

    # Written down, MIG mode and two instances made one after the other, specification, completed.
    assert len(found) > (10 if beside else 12)
    assert [each["died"] for each in found] == [KILLED] * (len(found) - 1) + [0]
    nothing = {"instances": len(beside), "modes": len(beside), "journals": 0, "files": []}
    for each in found:
        assert each["took_over"] == 0, each
        assert each.get("after_load", nothing) == nothing, each
        # The same answer, whatever became of the first try.
        assert each["answer"] == each["again"] == found[-1]["answer"]
        assert len(each["answer"]) == 2
        assert each["left"] == nothing, each


@pytest.mark.parametrize("beside", [(), ("beside",)])
def test_killed_while_giving_back(tmp_path, beside):
    found = trials(tmp_path, "unprepare", *beside)

    assert len(found) > 5
    nothing = {"instances": len(beside), "modes": len(beside), "journals": 0, "files": []}
    for each in found:
        assert (each["took_over"], each["left"]) == (0, nothing), each


@pytest.fixture
def short_path():
    """A folder for sockets, whose paths are short; not in /dev/shm, which daemons have."""
    with tempfile.TemporaryDirectory(prefix="pl-", dir="/tmp") as folder:
        yield Path(folder)


SHARED = {"slices": 1, "exclusive": 2, "daemons": 1}
NOT_SHARED = {"slices": 0, "exclusive": 0, "daemons": 0, "files": []}


@pytest.mark.timeout(300)
def test_killed_while_sharing_devices_for_a_claim(short_path):
    found = trials(short_path, "prepare", program="sharing_trials.py")

    # Written down twice, a time slice, two compute modes, a daemon and its limits, ...
    assert len(found) > 12
    assert [each["died"] for each in found] == [KILLED] * (len(found) - 1) + [0]
    for each in found:
        assert each["took_over"] == 0, each
        assert each.get("after_load", NOT_SHARED) == NOT_SHARED, each
        assert each["left"] == NOT_SHARED, each
    prepared = [each for each in found if "answer" in each]
    assert len(prepared) > 3
    for each in prepared:
        assert SHARED.items() <= each["prepared"].items(), each
        assert each["answer"] == each["again"] == found[-1]["answer"]


@pytest.mark.timeout(300)
def test_killed_while_no_longer_sharing_devices_for_a_claim(short_path):
    found = trials(short_path, "unprepare", program="sharing_trials.py")

    assert len(found) > 8
    for each in found:
        assert (each["took_over"], each["left"]) == (0, NOT_SHARED), each
