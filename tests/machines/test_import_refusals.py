"""What cannot be read is refused with line, reason and the line itself, in full."""

import pytest

from agent.model.errors import ConfigError
from agent.simulation import capture, machines, synthesise

LINES = (
    "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity",
    "GPU0\t X \tPIX\t0-3\t0",
    "GPU1\tPIX\t X \t4-7\t1",
)


def refusal(*lines):
    with pytest.raises(ConfigError) as refused:
        capture.parse("\n".join(lines), where="topo.txt")
    return str(refused.value)


def test_an_empty_file():
    assert refusal("", "# only a comment") == (
        "topo.txt: the capture is empty; paste what 'nvidia-smi topo -m' prints"
    )


def test_no_matrix():
    assert refusal("NVIDIA-SMI has failed because", "it couldn't talk to the driver") == (
        "topo.txt: no matrix in 2 lines: none is a header like 'GPU0 GPU1 ... CPU Affinity'"
    )


def test_an_unknown_word():
    assert refusal(LINES[0], "GPU0\t X \tPIY\t0-3\t0", LINES[2]) == (
        "topo.txt: line 2: GPU0-GPU1 is 'PIY', which is no word of nvidia-smi; "
        "the nearest is 'PIX'\n    GPU0 X PIY 0-3 0"
    )


def test_a_word_with_something_behind_it():
    assert refusal(LINES[0], "GPU0\t X \tNODES\t0-3\t0", LINES[2]) == (
        "topo.txt: line 2: GPU0-GPU1 is 'NODES', which is no word of nvidia-smi; "
        "the nearest is 'NODE'\n    GPU0 X NODES 0-3 0"
    )


def test_two_cells_that_disagree():
    assert refusal(LINES[0], "GPU0\t X \tNV12\t0-3\t0", "GPU1\tSYS\t X \t4-7\t1") == (
        "topo.txt: line 3: GPU1-GPU0 is 'SYS', but GPU0-GPU1 is 'NV12' in line 2: both cells "
        "tell one distance; correct the wrong one\n    GPU1 SYS X 4-7 1"
    )


def test_a_missing_gpu_row():
    assert refusal(*LINES[:2]) == (
        "topo.txt: line 1: this header has a column GPU1, but no row GPU1 follows\n"
        "    GPU0 GPU1 CPU Affinity NUMA Affinity"
    )


def test_too_few_cells():
    assert refusal(LINES[0], "GPU0\t X \t0-3\t0", LINES[2]) == (
        "topo.txt: line 2: row GPU0 has 1 cells, but the header in line 1 names 2 devices\n"
        "    GPU0 X 0-3 0"
    )


def test_too_many_cells():
    assert refusal(LINES[0], "GPU0\t X \tPIX\tSYS\t0-3\t0", LINES[2]) == (
        "topo.txt: line 2: row GPU0 has a cell 'SYS' beyond the 2 devices of the header in "
        "line 1\n    GPU0 X PIX SYS 0-3 0"
    )


def test_too_many_affinities():
    assert refusal(LINES[0], "GPU0\t X \tPIX\t0-3\t0\t\tN/A", LINES[2]) == (
        "topo.txt: line 2: 'N/A' stands in no column of the header in line 1\n"
        "    GPU0 X PIX 0-3 0 N/A"
    )


def test_a_row_twice():
    assert refusal(*LINES, LINES[1]) == (
        "topo.txt: line 4: a second row GPU0, the first is line 2; import one matrix at a time\n"
        "    GPU0 X PIX 0-3 0"
    )


def test_two_matrices():
    assert refusal(*LINES, "", *LINES) == (
        "topo.txt: line 5: a second matrix starts here, the first in line 1; import one at a "
        "time\n    GPU0 GPU1 CPU Affinity NUMA Affinity"
    )


def test_a_column_twice():
    assert refusal("\tGPU0\tGPU0\tCPU Affinity", "GPU0\t X \tPIX\t0-3") == (
        "topo.txt: line 1: two columns GPU0\n    GPU0 GPU0 CPU Affinity"
    )


def test_a_gap_between_gpus():
    assert refusal("\tGPU0\tGPU2\tCPU Affinity", "GPU0\t X \tPIX\t0-3") == (
        "topo.txt: line 1: the GPUs' columns must be GPU0, GPU1 ... without a gap\n"
        "    GPU0 GPU2 CPU Affinity"
    )


def test_a_row_without_a_column():
    assert refusal(*LINES, "NIC0\tPIX\tPIX") == (
        "topo.txt: line 4: a row NIC0, but the header in line 1 has no such column\n"
        "    NIC0 PIX PIX"
    )


def test_a_row_wrapped_by_the_terminal():
    assert refusal(*LINES, "SYS\tSYS") == (
        "topo.txt: line 4: cells without a device: a terminal wrapped the row above; capture "
        "it on a wider one\n    SYS SYS"
    )


def test_a_diagonal_that_is_none():
    assert refusal(LINES[0], "GPU0\tPIX\tPIX\t0-3\t0", LINES[2]) == (
        "topo.txt: line 2: GPU0-GPU0 is 'PIX': X stands where a device meets itself, and only "
        "there\n    GPU0 PIX PIX 0-3 0"
    )


def test_a_list_of_cpus_that_is_none():
    assert refusal(LINES[0], "GPU0\t X \tPIX\t0-x\t0", LINES[2]) == (
        "topo.txt: line 2: CPU affinity of GPU0: '0-x' is no list of numbers and ranges like "
        "0-3,8\n    GPU0 X PIX 0-x 0"
    )


def test_a_range_that_would_fill_the_memory():
    assert refusal(LINES[0], "GPU0\t X \tPIX\t0-99999999999\t0", LINES[2]) == (
        "topo.txt: line 2: CPU affinity of GPU0: '0-99999999999' in '0-99999999999' is no "
        "ascending range below 65536\n    GPU0 X PIX 0-99999999999 0"
    )


def test_more_nvlinks_than_there_are():
    assert refusal(LINES[0], "GPU0\t X \tNV99\t0-3\t0", "GPU1\tNV99\t X \t4-7\t1") == (
        "topo.txt: line 2: row GPU0 has a cell 'NV99', but no GPU has so many NVLinks\n"
        "    GPU0 X NV99 0-3 0"
    )


def test_a_blank_cell_whose_column_is_not_plain():
    header = "     GPU0 GPU1 CPU Affinity  NUMA Affinity  GPU NUMA ID"
    rows = ("GPU0 X    PIX 0                           0", "GPU1 PIX  X    0-3           0   N/A")

    assert refusal(header, rows[0].replace("0   ", "0 0", 1)[:24], rows[1]).startswith(
        "topo.txt: line 2: '0': with a cell left blank it is not plain which column this is; "
        "write N/A into the blank one\n"
    )


def wiring_refusal(text, model=None):
    found = capture.parse(text, where="topo.txt")
    with pytest.raises(ConfigError) as refused:
        synthesise.synthesise(found, name="topo", source=text, model=model)
    return str(refused.value)


def matrix(*rows):
    header = "\t" + "\t".join(f"GPU{index}" for index in range(len(rows))) + "\tCPU Affinity"
    return "\n".join((header, *(f"GPU{n}\t{row}\t0-3" for n, row in enumerate(rows))))


def test_links_that_no_wiring_gives():
    text = matrix(
        "X\tNV18\tSYS\tNV18", "NV18\tX\tNV18\tSYS", "SYS\tNV18\tX\tNV18", "NV18\tSYS\tNV18\tX"
    )

    assert wiring_refusal(text) == (
        "GPU0-GPU2: no NVLinks, but GPU0 has NV18 and GPU2 NV18 to others: no wiring of 18 "
        "links a GPU, direct or through switches, gives that"
    )


def test_a_model_without_so_many_links():
    text = matrix("X\tNV18", "NV18\tX")

    assert wiring_refusal(text, model="a100-sxm4-40gb") == (
        "GPU0 has NV18, but NVIDIA A100-SXM4-40GB has 12 NVLinks: name the right model with --gpu"
    )


def test_an_unknown_model():
    text = matrix("X\tSYS", "SYS\tX")

    assert wiring_refusal(text, model="h100-sxm-80gb").startswith(
        "unknown GPU model 'h100-sxm-80gb': the nearest is 'h100-sxm5-80gb' (known: p100"
    )


def test_a_file_that_is_not_there(tmp_path):
    missing = tmp_path / "topo.txt"

    with pytest.raises(ConfigError) as refused:
        machines.import_capture(str(missing), tmp_path / "machine")

    assert str(refused.value) == f"{missing}: cannot read the capture: No such file or directory"
    assert list(tmp_path.iterdir()) == []
