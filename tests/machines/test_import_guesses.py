"""What a capture does not tell is guessed, and said."""

import pytest

from agent.model.inventory import Distance
from agent.simulation import capture, expand, lists, machines, synthesise, tree
from agent.simulation.build import description
from tests.machines import matrix


def imported(text, model=None):
    found = capture.parse(text, where="topo.txt")
    return synthesise.synthesise(found, name="topo", source=text, model=model)


def square(*rows, tail):
    header = "\t" + "\t".join(f"GPU{n}" for n in range(len(rows))) + "\tCPU Affinity\tNUMA Affinity"
    return "\n".join((header, *(f"GPU{n}\t{row}\t{tail}" for n, row in enumerate(rows))))


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("dgx-h100-12nic", "h100-sxm5-80gb"),
        ("h100-4gpu-nv6-nps4", "h100-sxm5-80gb"),
        ("dgx-a100-12nic", "a100-sxm4-40gb"),
        ("a100-pcie-8gpu-bridges", "a100-pcie-40gb"),
        ("dgx1v-4nic", "v100-sxm2-32gb"),
        ("gb200-tray-8nic", "gb200"),
        ("k80-4gpu-mlx4", "k80"),
        ("l40s-8gpu-2socket-vm", "l40s"),
    ],
)
def test_the_model_is_guessed_from_the_links(name, model):
    found = imported(matrix.text(name))

    assert found.profile.gpu == model
    assert found.notes[0].startswith("GPUs taken for ")


def test_a_named_model_is_no_guess():
    found = imported(matrix.text("b200-degraded-gpu2-no-nvlink"), model="b200")

    assert found.profile.gpu == "b200"
    assert not any("taken for" in note for note in found.notes)


def test_a_gpu_without_nvlink_among_peers_has_its_links_down():
    found = imported(matrix.text("b200-degraded-gpu2-no-nvlink"), model="b200")
    spec = expand.expand(found.profile)

    up = [sum(link.up for link in spec.links if link.gpu == gpu) for gpu in range(8)]
    assert up == [18, 18, 0, 18, 18, 18, 18, 18]
    assert "GPU2: 18 of its NVLinks are down, it shows fewer than its peers" in found.notes


def test_contradictions_are_grouped_one_note_each():
    _, gpus, nics = imported(matrix.text("rtx4090-8gpu-all-sys-2nic")).notes

    assert gpus == (
        "12 GPU pairs are SYS where sysfs would say NODE, kept in what the driver answers: "
        "GPU0-GPU1, GPU0-GPU2, GPU0-GPU3, GPU1-GPU2, GPU1-GPU3, GPU2-GPU3 ..."
    )
    assert nics == (
        "6 pairs with a NIC are SYS where sysfs would say NODE, kept in "
        "etc/plumbline/locality.yaml: GPU4-NIC0, GPU4-NIC1, GPU5-NIC0, GPU5-NIC1, GPU7-NIC0, "
        "GPU7-NIC1"
    )


def test_a_nic_far_from_everything_has_no_node():
    found = imported(matrix.text("l40s-8gpu-2socket-vm"))

    assert found.profile.distances == ()
    assert "no NUMA node fits NIC0: their numa_node is -1" in found.notes


def test_nodes_without_gpus_are_there_with_their_share_of_the_cpus():
    spec = expand.expand(imported(matrix.text("dgx-a100-12nic")).profile)

    assert [lists.render(node.cpus) for node in spec.numa_nodes] == [
        f"{16 * node}-{16 * node + 15},{16 * node + 128}-{16 * node + 143}" for node in range(8)
    ]


def test_a_vm_that_tells_all_nodes_for_every_gpu():
    found = imported(square("X\tPHB", "PHB\tX", tail="0-95\t0-3"))
    spec = expand.expand(found.profile)

    assert [gpu.numa_node for gpu in spec.gpus] == [None, None]
    assert [gpu.memory_affinity for gpu in spec.gpus] == [(0, 1, 2, 3)] * 2
    assert [gpu.cpu_affinity for gpu in spec.gpus] == [tuple(range(96))] * 2
    assert [len(node.cpus) for node in spec.numa_nodes] == [24] * 4
    placed = tree.by_name(spec)
    assert tree.distance(spec, placed["GPU0"], placed["GPU1"]) is Distance.PHB


def test_a_container_that_tells_no_affinity():
    found = imported(square("X\tSYS\tNODE", "SYS\tX\tSYS", "NODE\tSYS\tX", tail="\t"))
    spec = expand.expand(found.profile)

    assert [gpu.numa_node for gpu in spec.gpus] == [0, 1, 0]
    assert [gpu.cpu_affinity for gpu in spec.gpus] == [()] * 3
    assert [gpu.memory_affinity for gpu in spec.gpus] == [()] * 3
    assert all(node.cpus for node in spec.numa_nodes)
    assert (
        "NUMA nodes are not told for every GPU: taken from CPU affinities and distances"
        in found.notes
    )


def test_dies_of_one_board_meet_inside_it():
    found = imported(square("X\tPSB", "PSB\tX", tail="0-3\t0"))
    facts = machines.read_facts(description.render(expand.expand(found.profile)))

    assert found.profile.gpu == "k80"
    assert facts["pair 0 1"]["ancestor"] == "internal"


def test_nics_are_called_as_the_legend_says():
    text = (
        "\tGPU0\tNIC0\tNIC1\tCPU Affinity\nGPU0\t X \tPIX\tSYS\t0-3\n"
        "NIC Legend:\n  NIC0: mlx5_bond_0\n"
    )
    spec = expand.expand(imported(text).profile)

    assert {"mlx5_bond_0", "mlx5_1"} < set(tree.by_name(spec))


def test_equal_text_makes_equal_uuids():
    text = matrix.text("pcie-6gpu-4plus2")
    one, again, other = (
        [gpu.uuid for gpu in expand.expand(imported(each).profile).gpus]
        for each in (text, text, text + "\n")
    )

    assert one == again
    assert not set(one) & set(other)


def test_fifty_nics_below_one_switch():
    names = [f"NIC{n}" for n in range(50)]
    rows = ["\tGPU0\t" + "\t".join(names) + "\tCPU Affinity"]
    rows.append("GPU0\t X \t" + "\t".join(["PIX"] * 50) + "\t0-3")
    spec = expand.expand(imported("\n".join(rows)).profile)
    placed = tree.by_name(spec)

    assert len(placed) == 51
    found = {tree.distance(spec, placed["GPU0"], placed[f"mlx5_{n}"]) for n in range(50)}
    assert found == {Distance.PIX}
