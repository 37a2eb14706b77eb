"""What placement must know of each captured machine, from its text and from what stands here.

Written down without the product's model: matrix.py reads the text, the tables say what its words
are worth on that machine.
"""

from placement_machines import PlacementMachine, bits, nodes

from tests.machines import matrix

# GB/s in one direction. An NVLink of V100, A100 and H100 is 25, of GB200 50. PCIe as on 16 lanes
# of generation 4 (PIX 24, PXB 22, PHB 16, NODE 12, SYS 8); half of it on generation 3 (V100,
# K80), twice on generation 5 (H100). Captures do not name their GPUs: what has NV18 is taken for
# an H100 unless it is coherent with its CPU, what has no NVLink for an L40S unless it is that old.
GBPS = {
    "a100-pcie-8gpu-bridges": {"NV12": 300, "SYS": 8},
    "b200-degraded-gpu2-no-nvlink": {"NV18": 450, "NODE": 24, "SYS": 16},
    "dgx-a100-12nic": {"NV12": 300},
    "dgx-b200-snc2-16nic": {"NV18": 450},
    "dgx-h100-12nic": {"NV18": 450},
    "dgx1v-4nic": {"NV1": 25, "NV2": 50, "SYS": 4},
    "gb200-tray-8nic": {"NV18": 900},
    "h100-4gpu-nv6-nps4": {"NV6": 150},
    "hgx-a100-2nic-asym": {"NV12": 300},
    "k80-4gpu-mlx4": {"PIX": 12, "PHB": 8},
    "l40s-8gpu-2socket-vm": {"NODE": 12, "SYS": 8},
    "pcie-6gpu-4plus2": {"PIX": 24, "NODE": 12, "SYS": 8},
    "rtx4090-8gpu-all-sys-2nic": {"SYS": 8},
}
# Several NUMA nodes a socket; elsewhere a node is a socket.
SOCKETS = {
    "dgx-a100-12nic": {3: 0, 1: 0, 7: 1, 5: 1},
    "dgx-b200-snc2-16nic": {0: 0, 1: 0, 2: 1, 3: 1},
    "h100-4gpu-nv6-nps4": {3: 0, 1: 0, 7: 1, 5: 1},
}
# Groups that NVLink joins all alike; elsewhere that is all GPUs or none.
CLIQUES = {
    "a100-pcie-8gpu-bridges": [0, 1, 0, 1, 2, 2, 3, 3],
    "b200-degraded-gpu2-no-nvlink": [0, 0, -1, 0, 0, 0, 0, 0],
    "dgx1v-4nic": [-1] * 8,
}
NO_NVLINK = {"b200-degraded-gpu2-no-nvlink": 2}


def machine(capture):
    """Return what the engine must be told of a captured machine, GPUs by index."""
    words = matrix.cells(capture)
    gpus = list(matrix.affinities(capture))
    homes = _homes(capture)
    sockets = SOCKETS.get(capture, {home: home for home in homes})
    joined = any(words[pair].startswith("NV") for pair in words)
    bad = NO_NVLINK.get(capture)
    return PlacementMachine(
        pair_gbps=[[0 if a == b else GBPS[capture][words[a, b]] for b in gpus] for a in gpus],
        numa=nodes(*homes),
        socket=nodes(*(sockets[home] for home in homes)),
        clique=CLIQUES.get(capture, [0 if joined else -1] * len(gpus)),
        rails=_rails(words, gpus),
        # All of its links are down: ten tenths are missing.
        penalty=[10 if index == bad else 0 for index in range(len(gpus))],
    )


def _homes(capture):
    """Return the NUMA node of each GPU; old drivers print CPUs only: one node for each group."""
    printed = matrix.affinities(capture).values()
    groups = sorted({cpus for cpus, _, _ in printed})
    # The first of a list is the one with CPUs.
    return [
        groups.index(cpus) if listed is None else int(listed.split(",")[0])
        for cpus, listed, _ in printed
    ]


def _rails(words, gpus):
    """Return the NICs nearest to each GPU below the host bridge."""
    nics = list(dict.fromkeys(b for a, b in words if a in gpus and b not in gpus))
    found = []
    for gpu in gpus:
        near = [[n for n in nics if words[gpu, n] == word] for word in ("PIX", "PXB")]
        found.append(bits(*map(nics.index, near[0] or near[1])))
    return found if any(found) else _below_one_bridge(words, gpus, nics)


def _below_one_bridge(words, gpus, nics):
    """Return the NICs at PHB of some GPUs, where none is nearer to any."""
    telling = [n for n in nics if len({words[gpu, n] == "PHB" for gpu in gpus}) == 2]
    return [bits(*(nics.index(n) for n in telling if words[gpu, n] == "PHB")) for gpu in gpus]
