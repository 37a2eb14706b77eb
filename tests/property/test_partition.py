"""Random changes of how a GPU is divided, on the simulated driver of every board.

The driver is the oracle: what it let be done is read back from it.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from agent.simulation import machines
from agent.simulation.parts import shipped

TRIALS = Path(__file__).parents[1] / "support" / "partition_trials.py"
# One model of each table.
BOARDS = sorted({m.mig: name for name, m in shipped().gpus.items() if m.mig}.values())
ROUNDS = 25


def one_gpu(board):
    return {
        "version": "v1",
        "name": "one",
        "summary": "one GPU",
        "gpu": board,
        "root_port": "intel-sapphire-rapids-port",
        "sockets": [[{"node": 0, "cpus": "0-15"}]],
        "pci": [{"root": "0000:10", "node": 0, "ports": [{"gpu": 0, "at": "11:00.0"}]}],
    }


def wandered(folder, board, seed):
    profile = folder / "one.yaml"
    profile.write_text(yaml.safe_dump(one_gpu(board)))
    machines.create(str(profile), folder / "machine")
    command = [sys.executable, TRIALS, folder / "machine", '{"0": []}', '{"0": []}', "wander"]
    done = subprocess.run(
        [*command, str(seed), str(ROUNDS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["trials"]


def kinds(instances):
    return Counter((profile, tuple(sorted(compute))) for profile, _, compute in instances)


@pytest.mark.parametrize("board", BOARDS)
def test_the_layout_is_reached_or_nothing_is_changed_and_work_goes_on(tmp_path, board):
    trials = wandered(tmp_path, board, seed=BOARDS.index(board))

    for trial in trials:
        assert trial["left"] == []
        if trial["raised"] is None:
            assert kinds(trial["divided"]["0"]) == kinds(trial["wanted"])
            placed = [(p, start) for p, start, _ in trial["wanted"] if start is not None]
            assert not Counter(placed) - Counter((p, s) for p, s, _ in trial["divided"]["0"])
        else:
            assert trial["raised"] in {"ConfigError", "BusyError"}, trial["said"]
            assert trial["divided"] == trial["was"]["divided"]
        # Nobody's work was touched: what was worked on is, under the same UUID.
        assert trial["at_work"] == trial["was"]["at_work"]
    ends = Counter(trial["raised"] for trial in trials)
    assert ends[None] >= 3
    assert ends["ConfigError"] >= 1
