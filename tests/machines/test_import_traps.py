"""What terminals, old drivers and people do to a matrix, each trap by itself."""

import pytest

from agent.model.inventory import Distance
from agent.simulation import capture

HEADER = "\tGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\n"
PLAIN = (
    HEADER
    + "GPU0\t X \tNV4\tPIX\t0-3\t0\t\tN/A\n"
    + "GPU1\tNV4\t X \tSYS\t4-7\t1\t\tN/A\n"
    + "NIC0\tPIX\tSYS\t X \t\t\t\t\n"
)


def parse(text):
    return capture.parse(text, where="topo.txt")


def relation(found, a, b):
    return found.relations[frozenset((a, b))]


def assert_is_plain(found):
    """The matrix of PLAIN, whatever was done to its text."""
    assert [gpu.name for gpu in found.gpus] == ["GPU0", "GPU1"]
    assert found.nics == ("NIC0",)
    assert relation(found, "GPU0", "GPU1") == capture.Relation(distance=None, nvlinks=4)
    assert relation(found, "GPU0", "NIC0").distance is Distance.PIX
    assert relation(found, "GPU1", "NIC0").distance is Distance.SYS
    assert [gpu.cpu_affinity for gpu in found.gpus] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [gpu.numa_affinity for gpu in found.gpus] == [(0,), (1,)]
    assert [gpu.memory_node for gpu in found.gpus] == [None, None]


def test_a_plain_matrix():
    assert_is_plain(parse(PLAIN))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PLAIN.replace("NV4\tPIX", "NV4PIX"), id="after-nvlinks"),
        pytest.param(PLAIN.replace("PIX\tSYS\t X", "PIXSYS X"), id="in-a-nic-row"),
        pytest.param(PLAIN.replace("GPU1\tNV4", "GPU1NV4"), id="after-the-name"),
        pytest.param(PLAIN.replace(" X \tNV4", "XNV4"), id="after-the-diagonal"),
        pytest.param(PLAIN.replace("SYS\t4-7", "SYS4-7"), id="before-the-cpus"),
        pytest.param(PLAIN.replace("GPU1\tNIC0\tCPU", "GPU1NIC0CPU"), id="in-the-header"),
        pytest.param(PLAIN.replace("0-3\t0\t\tN/A", "0-3 0 N/A"), id="between-affinities"),
    ],
)
def test_cells_glued_by_a_swallowed_tab(text):
    assert text != PLAIN
    assert_is_plain(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PLAIN.expandtabs(8), id="spaces"),
        pytest.param(PLAIN.replace("\n", "\r\n"), id="windows-line-ends"),
        pytest.param(PLAIN.replace("\t", "\xa0\t\xa0"), id="no-break-spaces"),
        pytest.param("\ufeff" + PLAIN, id="byte-order-mark"),
        pytest.param(PLAIN.replace("\t", " \t "), id="spaces-and-tabs"),
        pytest.param("".join(f"    {line}\n" for line in PLAIN.splitlines()), id="indented"),
        pytest.param(PLAIN.replace(HEADER, f"\x1b[4m{HEADER[:-1]}\x1b[0m\n"), id="underlined"),
        pytest.param(PLAIN.replace(HEADER, f"[4m{HEADER[:-1]}[0m\n"), id="escape-lost"),
        pytest.param(PLAIN.replace("NV4", "\x1b[1;32mNV4\x1b[0m"), id="coloured"),
    ],
)
def test_what_terminals_and_editors_add(text):
    assert text != PLAIN
    assert_is_plain(parse(text))


def test_what_people_paste_around_it():
    legend = (
        "\nLegend:\n\n  X    = Self\n"
        "  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA\n"
        "nodes (e.g., QPI/UPI)\n"
        "  NV#  = Connection traversing a bonded set of # NVLinks\n"
        "\nNIC Legend:\n\n  NIC0: mlx5_bond_0\n"
    )
    around = (
        "# GPU0 GPU1 are bridged\nHello, GPU0 and GPU1 look odd:\nroot@node:~# nvidia-smi topo -m\n"
    )

    found = parse(around + PLAIN + legend + "root@node:~# exit\n")

    assert_is_plain(found)
    assert found.legend == {"NIC0": "mlx5_bond_0"}


def test_soc_is_what_old_drivers_called_sys():
    found = parse(PLAIN.replace("SYS", "SOC"))

    assert relation(found, "GPU1", "NIC0").distance is Distance.SYS


def test_psb_is_the_switch_on_a_dual_gpu_board():
    found = parse(PLAIN.replace("NV4", "PSB"))

    assert relation(found, "GPU0", "GPU1") == capture.Relation(distance=Distance.PIX, on_board=True)


@pytest.mark.parametrize("name", ["mlx5_0", "mlx4_0", "mlx5_bond_0", "bond0", "rocep1s0", "hfi1_0"])
def test_columns_named_after_the_device(name):
    assert parse(PLAIN.replace("NIC0", name)).nics == (name,)


def test_blank_affinities_of_a_container():
    blank = PLAIN.replace("0-3\t0\t\tN/A", "\t\t\tN/A").replace("4-7\t1\t\tN/A", "\t\t\tN/A")

    found = parse(blank)

    assert [gpu.cpu_affinity for gpu in found.gpus] == [None, None]
    assert [gpu.numa_affinity for gpu in found.gpus] == [None, None]


def test_a_blank_cpu_affinity_alone():
    found = parse(PLAIN.replace("0-3\t0", "\t0"))

    assert found.gpus[0].cpu_affinity is None
    assert found.gpus[0].numa_affinity == (0,)


def test_a_blank_cpu_affinity_told_by_its_place_alone():
    found = parse(PLAIN.expandtabs(16).replace("0-3", "   "))

    assert found.gpus[0].cpu_affinity is None
    assert found.gpus[0].numa_affinity == (0,)


def test_not_available_is_no_value():
    found = parse(PLAIN.replace("0-3\t0", "N/A\tN/A"))

    assert found.gpus[0].cpu_affinity is None
    assert found.gpus[0].numa_affinity is None


@pytest.mark.parametrize(
    ("printed", "nodes"),
    [("0-3", (0, 1, 2, 3)), ("0,3-5,11", (0, 3, 4, 5, 11)), ("6,14,22", (6, 14, 22))],
)
def test_lists_and_ranges_of_nodes(printed, nodes):
    found = parse(PLAIN.replace("0-3\t0", f"0-3\t{printed}"))

    assert found.gpus[0].numa_affinity == nodes


def test_the_node_of_a_gpus_own_memory():
    found = parse(PLAIN.replace("0-3\t0\t\tN/A", "0-3\t0\t\t2"))

    assert found.gpus[0].memory_node == 2


def test_an_old_driver_without_numa_columns():
    lines = ["\tGPU0\tGPU1\tCPU Affinity", "GPU0\t X \tPHB\t0-3", "GPU1\tPHB\t X \t0-3"]

    found = parse("\n".join(lines))

    assert not found.has_numa
    assert found.gpus[1].cpu_affinity == (0, 1, 2, 3)
    assert found.gpus[1].numa_affinity is None


def test_missing_nic_rows_are_known_by_symmetry():
    found = parse("\n".join(PLAIN.splitlines()[:-1]))

    assert relation(found, "GPU1", "NIC0").distance is Distance.SYS


def test_a_pair_no_row_tells_is_left_out():
    lines = ["\tGPU0\tNIC0\tNIC1\tCPU Affinity", "GPU0\t X \tPIX\tSYS\t0-3"]

    found = parse("\n".join(lines))

    assert frozenset(("NIC0", "NIC1")) not in found.relations


def test_a_single_gpu():
    found = parse("\tGPU0\tCPU Affinity\tNUMA Affinity\nGPU0\t X \t0-15\t0\n")

    assert [gpu.cpu_affinity for gpu in found.gpus] == [tuple(range(16))]
    assert found.relations == {}
