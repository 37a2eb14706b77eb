"""Machines made at random, and the same machines otherwise."""

from itertools import combinations

from placement_machines import PlacementMachine, nodes


def tree(shuffler, count, *, own_rails=False):
    """Make a machine of PCIe switches below roots below nodes: near is near for all."""
    switches = sorted(shuffler.randrange(max(2, count // 3)) for _ in range(count))
    rails = [1 << switch if switch % 2 else 0 for switch in switches]
    if own_rails:
        rails = [1 << rank for rank in range(count)]

    def gbps(a, b):
        x, y = switches[a], switches[b]
        levels = [(x, y, 24), (x // 2, y // 2, 22), (x // 4, y // 4, 12)]
        return next((value for p, q, value in levels if p == q), 8)

    return PlacementMachine(
        pair_gbps=[[0 if a == b else gbps(a, b) for b in range(count)] for a in range(count)],
        numa=nodes(*(switch // 4 for switch in switches)),
        rails=rails,
        penalty=[shuffler.choice([0, 0, 0, 5]) for _ in range(count)],
    )


def disturb(machine, shuffler, share):
    """Change single pairs, nodes and rails, so that nothing is regular any more."""
    for a, b in combinations(range(machine.size), 2):
        if shuffler.random() < share:
            machine.pair_gbps[a][b] = machine.pair_gbps[b][a] = shuffler.choice([0, 8, 16, 50])
    for values in (machine.numa, machine.rails):
        values[shuffler.randrange(machine.size)] = 0
    return machine


def spread_out(machine, places, count):
    """Put a machine's devices at places among others that nothing reaches."""
    at = {place: device for device, place in enumerate(places)}
    facts = machine.facts()
    nothing = {"numa": 0, "socket": 0, "clique": -1, "rails": 0, "penalty": 0}

    def gbps(a, b):
        return machine.pair_gbps[at[a]][at[b]] if a in at and b in at else 0

    return PlacementMachine(
        pair_gbps=[[gbps(a, b) for b in range(count)] for a in range(count)],
        **{
            name: [facts[name][at[i]] if i in at else none for i in range(count)]
            for name, none in nothing.items()
        },
    )


def renumbered(machine, place):
    """Give every device another rank, its place."""
    facts = machine.facts()
    order = sorted(range(machine.size), key=place.__getitem__)
    return PlacementMachine(
        pair_gbps=[[machine.pair_gbps[a][b] for b in order] for a in order],
        **{name: [facts[name][d] for d in order] for name in facts if name != "pair_gbps"},
    )
