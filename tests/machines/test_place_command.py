"""`plumbline place` as it is typed, on simulated machines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mig_machine import divide

from agent.simulation import machines

PLUMBLINE = Path(sys.executable).with_name("plumbline")


@pytest.fixture
def place(built):
    def run(machine, *arguments):
        command = [PLUMBLINE, "place", *map(str, arguments), "--machine", built[machine]]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    return run


def test_the_answer_as_json(place, inventories):
    done = place("dgx-1v", 2, "--free", "1,2,4,5,6,7", "-o", "json")

    answer = json.loads(done.stdout)
    uuids = {gpu.index: gpu.uuid for gpu in inventories["dgx-1v"].gpus}
    assert (done.returncode, done.stderr) == (0, "")
    assert answer["gpus"] == [1, 2]
    assert answer["uuids"] == [uuids[1], uuids[2]]
    assert answer["exact"] is True
    why = answer["explanation"]
    assert (why["ring_gbps"], why["min_pair_gbps"], why["mean_pair_gbps"]) == (50, 50, 50.0)
    assert (why["limiting_pair"], why["limiting_path"]) == ([1, 2], "NV2")
    assert (why["numa_nodes"], why["sockets"]) == ([0], [0])
    assert why["lost_at"] in why["key"]
    assert {"size": 4, "count": 1, "min_pair_gbps": 25, "gpus": [4, 5, 6, 7]} in why["left"]


def test_the_answer_in_words(place):
    done = place("b200-degraded-gpu2-no-nvlink", 8)

    assert done.stdout.splitlines()[0] == "GPUs 0 1 2 3 4 5 6 7"
    assert "slowest pair 16 GB/s (GPU2-GPU4, " in done.stdout
    assert "NUMA nodes 0 1, sockets 0 1" in done.stdout
    assert "left as good as on an empty node: no set of two or more" in done.stdout
    assert "next best" not in done.stdout


def test_nics_that_are_wanted_are_named_one_for_each_gpu(place):
    answer = json.loads(place("dgx-h100", 2, "--nics", 2, "--must", 4, "-o", "json").stdout)

    assert 4 in answer["gpus"]
    assert len(set(answer["nics"])) == 2


def test_gpus_apart_serve_who_wants_more_nics_than_those_together_have(place):
    # Two GPUs of a switch share its two NICs.
    answer = json.loads(place("dgx-a100", 2, "--nics", 3, "-o", "json").stdout)

    assert answer["gpus"] == [0, 2], "of two switches, and one socket"
    assert len(answer["nics"]) == 3


def test_a_gpu_may_be_thought_away(place):
    answer = json.loads(place("dgx-a100", 4, "--without", "0,5", "-o", "json").stdout)

    assert not {0, 5} & set(answer["gpus"])


@pytest.mark.parametrize("policy", ["default", "numa-first", "rdma", "pack", "spread"])
def test_every_policy_answers(place, policy):
    answer = json.loads(place("dgx-a100", 2, "--policy", policy, "-o", "json").stdout)

    assert len(answer["gpus"]) == 2
    spans = len(answer["explanation"]["numa_nodes"])
    assert spans == (2 if policy == "spread" else 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9,), "9 GPUs are asked for and 8 are free"),
        ((3, "--free", "0,1"), "3 GPUs are asked for and 2 are free"),
        ((1, "--must", "0,1"), "--must names 2 GPUs and 1 are asked for"),
        ((2, "--must", "0", "--without", "0"), "--must names a GPU that --without takes away"),
        ((1, "--free", "8"), "no GPU '8' on this node: it has 0, 1, 2, 3, 4, 5, 6, 7, by index"),
        (
            (1, "--nics", "3"),
            "3 NICs are asked for and no set of 1 GPUs has them",
        ),
        ((1, "--live", "--free", "0"), "--live and --free exclude each other"),
    ],
)
def test_what_cannot_be_met_is_said(place, arguments, message):
    done = place("dgx-h100", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")


def test_gpus_in_mig_mode_are_left_out_unless_they_are_named(tmp_path):
    machine = tmp_path / "machine"
    machines.create("dgx-h100", machine)
    for gpu in range(4):
        divide(machine, gpu, "19:0")

    def place(*arguments):
        command = [PLUMBLINE, "place", *arguments, "--machine", machine]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert json.loads(place("4", "-o", "json").stdout)["gpus"] == [4, 5, 6, 7]
    assert json.loads(place("1", "--free", "1", "-o", "json").stdout)["gpus"] == [1]
    refused = place("5")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "5 GPUs are asked for and 4 are free; 4 in MIG mode are given in" in refused.stderr
