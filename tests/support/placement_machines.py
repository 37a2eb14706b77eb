"""Inputs of the placement engine for machines of the field, written down by hand.

Words are those of `nvidia-smi topo -m`; rows are the upper triangle, so that a matrix cannot be
asymmetric by a slip.
"""

from dataclasses import dataclass, field

from agent._native import PlacementEngine

PCIE_GBPS = {"PIX": 24, "PXB": 22, "PHB": 16, "NODE": 12, "SYS": 8, "?": 0}


@dataclass(frozen=True)
class PlacementMachine:
    pair_gbps: list
    numa: list
    socket: list = None
    clique: list = None
    rails: list = None
    penalty: list = None
    engines: list = field(default_factory=list, compare=False)

    @property
    def size(self):
        return len(self.pair_gbps)

    @property
    def everything(self):
        return (1 << self.size) - 1

    def facts(self):
        count = self.size
        return {
            "pair_gbps": self.pair_gbps,
            "numa": self.numa,
            "socket": self.numa if self.socket is None else self.socket,
            "clique": [-1] * count if self.clique is None else self.clique,
            "rails": [0] * count if self.rails is None else self.rails,
            "penalty": [0] * count if self.penalty is None else self.penalty,
        }

    def engine(self):
        if not self.engines:
            self.engines.append(PlacementEngine(**self.facts()))
        return self.engines[0]


def gbps(word, per_link):
    return int(word[2:]) * per_link if word.startswith("NV") else PCIE_GBPS[word]


def matrix(triangle, per_link=25):
    """Fill a matrix from its upper triangle, one line per device but the last."""
    rows = [line.split() for line in triangle.strip().splitlines()]
    count = len(rows) + 1
    values = [[0] * count for _ in range(count)]
    for a, row in enumerate(rows):
        for b, word in enumerate(row, start=a + 1):
            values[a][b] = values[b][a] = gbps(word, per_link)
    assert all(len(row) == count - 1 - a for a, row in enumerate(rows))
    return values


def uniform(count, value):
    return [[0 if a == b else value for b in range(count)] for a in range(count)]


def nodes(*ids):
    """Return one bit per device from its node's id; None is unknown."""
    return [0 if node is None else 1 << node for node in ids]


def bits(*ranks):
    return sum(1 << rank for rank in ranks)


def ranks(mask):
    return [rank for rank in range(mask.bit_length()) if mask >> rank & 1]


HALVES = nodes(0, 0, 0, 0, 1, 1, 1, 1)

DGX_1V = PlacementMachine(
    pair_gbps=matrix("""
        NV1 NV1 NV2 NV2 SYS SYS SYS
        NV2 NV1 SYS NV2 SYS SYS
        NV2 SYS SYS NV1 SYS
        SYS SYS SYS NV1
        NV1 NV1 NV2
        NV2 NV1
        NV2
    """),
    numa=HALVES,
    rails=[1, 1, 2, 2, 4, 4, 8, 8],
)

DGX_A100 = PlacementMachine(
    pair_gbps=uniform(8, 300),
    numa=nodes(3, 3, 1, 1, 7, 7, 5, 5),
    socket=HALVES,
    clique=[0] * 8,
    rails=[3, 3, 12, 12, 48, 48, 192, 192],
)

DGX_H100 = PlacementMachine(
    pair_gbps=uniform(8, 450), numa=HALVES, clique=[0] * 8, rails=[1 << i for i in range(8)]
)

HGX_A100_2NIC = PlacementMachine(
    pair_gbps=uniform(8, 300), numa=HALVES, clique=[0] * 8, rails=[1, 1, 0, 0, 2, 2, 0, 0]
)

A100_BRIDGES = PlacementMachine(
    pair_gbps=matrix("""
        SYS NV12 SYS SYS SYS SYS SYS
        SYS NV12 SYS SYS SYS SYS
        SYS SYS SYS SYS SYS
        SYS SYS SYS SYS
        NV12 SYS SYS
        SYS SYS
        NV12
    """),
    numa=HALVES,
    clique=[0, 1, 0, 1, 2, 2, 3, 3],
)

EIGHT_4090 = PlacementMachine(pair_gbps=uniform(8, 8), numa=HALVES, rails=[0, 0, 0, 0, 0, 0, 3, 0])

B200_DEGRADED = PlacementMachine(
    pair_gbps=matrix(
        """
        NV18 NODE NV18 NV18 NV18 NV18 NV18
        NODE NV18 NV18 NV18 NV18 NV18
        NODE SYS SYS SYS SYS
        NV18 NV18 NV18 NV18
        NV18 NV18 NV18
        NV18 NV18
        NV18
        """,
        per_link=50,
    ),
    numa=HALVES,
    clique=[0, 0, -1, 0, 0, 0, 0, 0],
    rails=[1 << i for i in range(8)],
    penalty=[0, 0, 10, 0, 0, 0, 0, 0],
)

B200_SNC2 = PlacementMachine(
    pair_gbps=uniform(8, 900),
    numa=nodes(0, 0, 1, 1, 2, 2, 3, 3),
    socket=HALVES,
    clique=[0] * 8,
    rails=[1 << i for i in range(8)],
)

PCIE_4_PLUS_2 = PlacementMachine(
    pair_gbps=matrix("""
        PIX NODE NODE SYS SYS
        NODE NODE SYS SYS
        PIX SYS SYS
        SYS SYS
        PIX
    """),
    numa=nodes(0, 0, 0, 0, 1, 1),
)

H100_NPS4 = PlacementMachine(
    pair_gbps=uniform(4, 150),
    numa=nodes(3, 1, 7, 5),
    socket=nodes(0, 0, 1, 1),
    clique=[0] * 4,
    rails=[1, 2, 4, 8],
)

GB200_TRAY = PlacementMachine(
    pair_gbps=uniform(4, 900), numa=nodes(0, 0, 1, 1), clique=[0] * 4, rails=[3, 3, 12, 12]
)

MACHINES = {
    "dgx-1v": DGX_1V,
    "dgx-a100": DGX_A100,
    "dgx-h100": DGX_H100,
    "hgx-a100-2nic": HGX_A100_2NIC,
    "a100-bridges": A100_BRIDGES,
    "8x4090": EIGHT_4090,
    "b200-degraded": B200_DEGRADED,
    "b200-snc2": B200_SNC2,
    "pcie-4+2": PCIE_4_PLUS_2,
    "h100-nps4": H100_NPS4,
    "gb200-tray": GB200_TRAY,
}
