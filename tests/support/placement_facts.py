"""What docs/placement.md says of an Inventory, worked out once more without the product's model."""

from fractions import Fraction
from itertools import combinations

from placement_machines import PCIE_GBPS, PlacementMachine, bits, nodes

from agent.model.inventory import LinkPeer

PER_LINK = {1: 20, 2: 25, 3: 25, 4: 25, 5: 50}
# Of what sixteen lanes of generation 4 carry.
GENERATIONS = {3: Fraction(1, 2), 4: Fraction(1), 5: Fraction(2)}


def machine_of(inventory):
    """Return UUIDs by rank, and what the engine must be told of them."""
    gpus = sorted(inventory.gpus, key=lambda g: (g.module_id or 0, g.address))
    links = [[0 if a is b else links_between(a, b) for b in gpus] for a in gpus]
    sockets = {node.id: node.socket for node in inventory.numa_nodes}
    return [g.uuid for g in gpus], PlacementMachine(
        pair_gbps=[[0 if a is b else pair_gbps(inventory, a, b) for b in gpus] for a in gpus],
        numa=nodes(*(g.numa_node for g in gpus)),
        socket=nodes(*(sockets.get(g.numa_node) for g in gpus)),
        clique=cliques(links),
        rails=[rails(inventory, g) for g in gpus],
        penalty=[penalty(inventory, g) for g in gpus],
    )


def links_between(a, b):
    """Count links at both ends; one that only one end knows is none."""
    direct = min(
        len([x for x in g.links if x.active and x.peer_address == other.address])
        for g, other in ((a, b), (b, a))
    )
    return direct or min(
        len([x for x in g.links if x.active and x.peer == LinkPeer.SWITCH]) for g in (a, b)
    )


def pair_gbps(inventory, a, b):
    slowest = min(per_link(a), per_link(b))
    return max(links_between(a, b) * slowest, pcie_gbps(inventory, a, b))


def per_link(gpu):
    """Return the GB/s of a link; of a GPU that tells no version that is known, the least."""
    versions = {link.version for link in gpu.links if link.active}
    return min((PER_LINK[v] for v in versions if v in PER_LINK), default=20)


def pcie_gbps(inventory, a, b):
    word = inventory.distance(a.uuid, b.uuid) or "SYS"
    positions = [g.position for g in (a, b) if g.position]
    if word in ("PIX", "PXB") and any(p.acs_redirect for p in positions):
        word = "PHB"
    return max(1, round(PCIE_GBPS[word] * min(path(inventory, a), path(inventory, b))))


def path(inventory, gpu):
    """Return what reaches a GPU; where that is not known, what reaches the worst on the node."""
    known = [x for x in map(known_path, inventory.gpus) if x is not None]
    own = known_path(gpu)
    return min(known, default=Fraction(1)) if own is None else own


def known_path(gpu):
    p = gpu.position
    if p is None or p.path_generation is None or p.path_width is None:
        return None
    return GENERATIONS[p.path_generation] * p.path_width / 16


def cliques(links):
    """Number the groups that links join, where they join each pair alike."""
    found = []
    for rank in range(len(links)):
        group = {rank}
        while more := {b for a in group for b, n in enumerate(links[a]) if n} - group:
            group |= more
        alike = {links[a][b] for a, b in combinations(sorted(group), 2)}
        found.append(min(group) if len(alike) == 1 and 0 not in alike else -1)
    return found


def rails(inventory, gpu):
    able = [
        n.rdma and not n.nvlink_management and n.ports[0].state == "ACTIVE" for n in inventory.nics
    ]
    if gpu.c2c_links:
        near = [n.numa_node is not None and n.numa_node == gpu.numa_node for n in inventory.nics]
        return bits(*(i for i, at in enumerate(near) if at and able[i]))
    far = [inventory.distance(gpu.uuid, n.name) for n in inventory.nics]
    for word in ("PIX", "PXB"):
        if found := [i for i, at in enumerate(far) if at == word and able[i]]:
            return bits(*found)
    everybody = [
        [inventory.distance(g.uuid, n.name) for g in inventory.gpus] for n in inventory.nics
    ]
    usable = [all_ for all_, ok in zip(everybody, able, strict=True) if ok]
    if any(at in ("PIX", "PXB") for all_ in usable for at in all_):
        return 0
    telling = [
        ok and len({at == "PHB" for at in all_}) == 2
        for ok, all_ in zip(able, everybody, strict=True)
    ]
    return bits(*(i for i, at in enumerate(far) if telling[i] and at == "PHB"))


def penalty(inventory, gpu):
    """Count the tenths, begun ones too, that are missing to the best of its kind."""
    kind = [g for g in inventory.gpus if g.name == gpu.name]

    def missing(value, best):
        return -(-10 * (best - value) // best) if best else 0

    links = {g.uuid: len([x for x in g.links if x.active]) for g in kind}
    paths = {g.uuid: path(inventory, g) for g in kind}
    return sum(missing(of[gpu.uuid], max(of.values())) for of in (links, paths))
