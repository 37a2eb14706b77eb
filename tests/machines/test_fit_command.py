"""`plumbline fit` as it is typed, on simulated machines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mig_machine import divide

from agent.simulation import machines

PLUMBLINE = Path(sys.executable).with_name("plumbline")
ALIGNING = ("best-effort", "restricted", "single-numa-node")


@pytest.fixture
def fit(built):
    def run(machine, *arguments):
        command = [PLUMBLINE, "fit", *arguments, "--machine", built[machine]]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    return run


@pytest.fixture
def answer(fit):
    def run(machine, *arguments):
        done = fit(machine, *arguments, "-o", "json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


def verdicts(found, policy):
    return [each["verdict"] for each in found["policies"][policy]["requests"]]


def gpus(found, policy, size):
    return found["policies"][policy]["requests"][size - 1]["gpus"]


def test_two_numa_nodes_of_four(answer, inventories):
    found = answer("dgx-h100")

    assert (found["gpus"], found["free"], found["unhealthy"]) == ([*range(8)], [*range(8)], [])
    assert found["best_pair_gbps"] == 450
    for policy in ("none", "best-effort", "restricted"):
        assert verdicts(found, policy) == ["admitted"] * 8
        assert found["policies"][policy]["never"] == []
        for state in ("now", "empty"):
            assert found["policies"][policy][state] == {
                "admitted": 8, "one_numa_node": 4, "one_socket": 4, "best_pairs": 8
            }  # fmt: skip
    assert verdicts(found, "single-numa-node") == ["admitted"] * 4 + ["never"] * 4
    assert found["policies"]["single-numa-node"]["never"] == [5, 6, 7, 8]
    four = found["policies"]["single-numa-node"]["requests"][3]
    uuids = {gpu.index: gpu.uuid for gpu in inventories["dgx-h100"].gpus}
    assert four == {
        "size": 4,
        "verdict": "admitted",
        "reason": "held to NUMA node 0",
        "preferred": True,
        "gpus": [0, 1, 2, 3],
        "uuids": [uuids[i] for i in range(4)],
        "numa_nodes": [0],
        "sockets": [0],
        "min_pair_gbps": 450,
    }
    assert found["notes"] == []


def test_eight_numa_nodes_of_which_four_have_two_gpus(answer):
    found = answer("dgx-a100")

    assert found["policies"]["single-numa-node"]["never"] == [3, 4, 5, 6, 7, 8]
    assert verdicts(found, "restricted") == ["admitted"] * 8
    # Any two nodes are as good to the kubelet; 1 and 3 happen to share a socket.
    assert found["policies"]["restricted"]["requests"][3]["numa_nodes"] == [1, 3]
    assert gpus(found, "restricted", 4) == [0, 1, 2, 3]


def test_the_kubelet_may_take_gpus_across_sockets_that_the_plugin_would_not(answer):
    """Of NUMA nodes 3, 7 and 5, it takes 3 and 5: the smallest mask, on two sockets."""
    found = answer("dgx-a100", "--free", "0,1,4,5,6,7")

    assert gpus(found, "none", 4) == [4, 5, 6, 7]
    for policy in ("best-effort", "restricted"):
        assert gpus(found, policy, 4) == [0, 1, 6, 7]
        assert found["policies"][policy]["requests"][3]["sockets"] == [0, 1]
        assert found["policies"][policy]["now"]["one_socket"] == 2
    assert found["policies"]["none"]["now"]["one_socket"] == 4


def test_scattered_gpus_are_refused_now_and_some_for_ever(answer):
    found = answer("dgx-a100", "--free", "0,2,4,6")

    assert verdicts(found, "none") == ["admitted"] * 4 + ["pending"] * 4
    assert verdicts(found, "restricted") == ["admitted", *["rejected"] * 3, *["pending"] * 4]
    assert verdicts(found, "single-numa-node") == ["admitted", "rejected", *["never"] * 6]
    assert found["policies"]["restricted"]["now"]["admitted"] == 1
    assert found["policies"]["restricted"]["empty"]["admitted"] == 8
    assert gpus(found, "best-effort", 2) == [0, 2]
    assert found["policies"]["best-effort"]["requests"][1]["preferred"] is False


def test_a_coherent_tray_has_two_cpus_and_many_nodes_of_memory(answer):
    found = answer("gb200-tray")

    for policy in ALIGNING:
        assert gpus(found, policy, 2) == [0, 1]
        assert found["policies"][policy]["requests"][1]["numa_nodes"] == [0]
    assert found["policies"]["single-numa-node"]["never"] == [3, 4]
    (note,) = found["notes"]
    assert note.startswith("the machine has 34 NUMA nodes: with a policy other than none")
    assert "max-allowable-numa-nodes=34" in note


def test_four_and_two(answer):
    found = answer("pcie-6gpu-4plus2")

    assert found["policies"]["single-numa-node"]["never"] == [5, 6]
    assert found["policies"]["single-numa-node"]["now"]["admitted"] == 4
    # The plugin would keep the four whole; the kubelet prefers node 0 before it asks.
    assert gpus(found, "none", 2) == [4, 5]
    assert gpus(found, "restricted", 2) == [0, 1]


def test_three_and_one_reject_every_four_for_ever(answer):
    found = answer("pcie-6gpu-4plus2", "--without", "0,4")

    assert found["gpus"] == [1, 2, 3, 5]
    four = found["policies"]["single-numa-node"]["requests"][3]
    assert (four["verdict"], four["gpus"]) == ("never", [])
    assert four["reason"] == "no NUMA node has more than 3 GPUs"
    assert verdicts(found, "restricted") == ["admitted"] * 4


def test_the_whole_answer_in_words(fit):
    done = fit("dgx-a100", "--free", "0,2,4,6,7")

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == "GPUs 0-7, free 0,2,4,6-7"
    assert "asks none best-effort restricted single-numa-node" in lines
    assert "1 yes: 0 on 3 yes: 2 on 1 yes: 2 on 1 yes: 2 on 1" in lines
    assert "2 yes: 6-7 on 5 yes: 6-7 on 5 yes: 6-7 on 5 yes: 6-7 on 5" in lines
    assert "6 waits waits waits never" in lines
    said = lines[lines.index("single-numa-node: up to 2 now, 2 when the node is empty") :]
    assert said[1] == "3 to 8 never: no NUMA node has more than 2 GPUs"
    said = lines[lines.index("restricted: up to 3 now, 8 when the node is empty") :]
    assert said[1:4] == [
        "4 rejected now: takes 3 NUMA nodes where 2 could do",
        "5 rejected now: takes 4 NUMA nodes where 3 could do",
        "6 to 8 waiting: 5 of 8 GPUs free",
    ]
    assert "4 to 5 admitted, but not aligned" in lines
    assert "restricted 2 2 (empty: 4) 3 (empty: 8)" in lines


def test_gaps_are_told(fit):
    done = fit("dgx-h100", "--free", "0,1,2,4,5,6")

    assert "restricted: up to 6 now, but not 4, 8 when the node is empty\n" in done.stdout


def test_a_node_may_be_without_gpus(fit):
    done = fit("pcie-6gpu-4plus2", "--without", "0,1,2,3,4,5")

    assert (done.returncode, done.stdout) == (0, "there are no GPUs\n")


def test_a_gpu_that_does_not_answer_is_told(tmp_path):
    machine = tmp_path / "machine"
    for command in (("machine", "create", "t4-4x", machine), ("machine", "lose", machine, "2")):
        subprocess.run([PLUMBLINE, *command], check=True, capture_output=True)

    done = subprocess.run(
        [PLUMBLINE, "fit", "--machine", machine], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[0].startswith("GPUs 0-1,3,")
    assert "note: GPU 2 does not answer and is left out: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--free", "8"), "no GPU '8' on this node: it has 0, 1, 2, 3, 4, 5, 6, 7, by index"),
        (("--without", "GPU-x"), "no GPU 'GPU-x' on this node"),
        (("--live", "--free", "0"), "--live and --free exclude each other"),
    ],
)
def test_what_is_wrong_is_said(fit, arguments, message):
    done = fit("dgx-h100", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")


def test_gpus_in_mig_mode_are_told_and_left_out(tmp_path):
    machine = tmp_path / "machine"
    machines.create("dgx-h100", machine)
    divide(machine, 1, "19:0")
    divide(machine, 2)

    done = subprocess.run(
        [PLUMBLINE, "fit", "--machine", machine], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[0].startswith("GPUs 0,3-7,")
    for gpu in (1, 2):
        assert f"note: GPU {gpu} is in MIG mode and left out: it is given in" in done.stdout


def test_a_node_whose_gpus_are_all_divided_says_so(tmp_path):
    machine = tmp_path / "machine"
    machines.create("gh200", machine)
    divide(machine, 0, "19:0")

    done = subprocess.run(
        [PLUMBLINE, "fit", "--machine", machine], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("there are no GPUs\n")
    assert "note: GPU 0 is in MIG mode and left out: it is given in instances" in done.stdout
