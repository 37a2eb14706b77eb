"""An agent that is killed at any step of a claim leaves nothing that the next one does not know."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.simulation import machines

TRIALS = Path(__file__).parent.parent / "support" / "claim_trials.py"
KILLED = 9


def trials(tmp_path, *words):
    machine, folder = tmp_path / "machine", tmp_path / "state"
    machines.create("dgx-h100", machine)
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, TRIALS, machine, folder, *words],
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
