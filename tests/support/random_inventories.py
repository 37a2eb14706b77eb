"""Inventories of nodes that nobody built: uneven, degraded, with facts missing."""

import random
from itertools import combinations

from builders import address, gpu, inventory, nic, numa
from msgspec.structs import replace

from agent.model.inventory import (
    Distance,
    Link,
    LinkPeer,
    NicPort,
    PairDistance,
    PciPosition,
)


def random_inventory(count, seed):
    """Return a node of so many GPUs; the seed decides what it is made of and what is unknown."""
    maker = _Maker(random.Random(seed), count)
    gpus = [maker.gpu(index) for index in range(count)]
    nics = [maker.nic(number) for number in range(maker.random.randrange(4))]
    near = [*combinations([g.uuid for g in gpus], 2)]
    near += [(g.uuid, nic.name) for g in gpus for nic in nics]
    return inventory(
        *gpus,
        nics=tuple(nics),
        numa_nodes=tuple(filter(None, map(maker.numa_node, range(4)))),
        pairs=tuple(
            PairDistance(a=a, b=b, distance=distance)
            for a, b in near
            if (distance := maker.known(maker.random.choice(list(Distance))))
        ),
    )


class _Maker:
    def __init__(self, shuffler, count):
        self.random, self.count = shuffler, count
        self.unknown = shuffler.choice([0, 0.1, 0.4])
        self.fabric = shuffler.choice(["none", "switches", "direct", "both"])
        self.down = shuffler.choice([0, 0.1])
        self.coherent = shuffler.random() < 0.1
        self.versions = shuffler.choice([[1], [3], [4], [5], [2, 4], [9]])
        self.generations = shuffler.choice([[3], [4], [5], [3, 4, 5]])
        self.modules = shuffler.choice([[None], [1], [*range(count)]])

    def known(self, value):
        """Return the value, or None where the node does not tell."""
        return None if self.random.random() < self.unknown else value

    def gpu(self, index):
        choose = self.random.choice
        return gpu(
            index,
            name=choose(["A", "A", "B"]),
            module_id=self.known(choose(self.modules)),
            numa_node=self.known(self.random.randrange(4)),
            position=self.known(self.position(index)),
            links=tuple(self.links(index)),
            c2c_links=10 if self.coherent else 0,
        )

    def position(self, index):
        choose = self.random.choice
        return PciPosition(
            address=address(index),
            root="pci0000:00",
            switch=None,
            path=(address(index),),
            numa_node=None,
            path_generation=self.known(choose(self.generations)),
            path_width=self.known(choose([16, 16, 16, 8])),
            acs_redirect=self.known(choose([False, False, True])),
        )

    def links(self, index):
        peers = [None] * self.random.choice([2, 4, 4]) if self.fabric != "none" else []
        for number, peer in enumerate(peers):
            direct = self.fabric == "direct" or (self.fabric == "both" and number % 2)
            yield Link(
                index=number,
                active=self.random.random() >= self.down,
                version=self.known(self.random.choice(self.versions)),
                peer=LinkPeer.GPU if direct else LinkPeer.SWITCH,
                # Neighbours in a row, and now and then anybody, from one end only.
                peer_address=self.known(
                    address(self.random.choice([index ^ 1, index ^ 1, index ^ 2, 0]))
                )
                if direct
                else peer,
            )

    def nic(self, number):
        choose = self.random.choice
        state = choose(["ACTIVE", "ACTIVE", "DOWN"])
        return nic(
            f"mlx5_{number}",
            rdma=choose([True, True, False]),
            ports=(NicPort(number=1, state=state, rate_gbps=None, link_layer=None),),
            numa_node=self.known(self.random.randrange(4)),
            nvlink_management=choose([False, False, True]),
        )

    def numa_node(self, number):
        return self.known(replace(numa(number), socket=self.known(number // 2)))
