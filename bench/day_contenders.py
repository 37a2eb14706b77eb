"""Who is asked for GPUs: Plumbline, and ways of choosing that do without a search of its kind.

Each is made from an Inventory and takes ``size`` of the ranks in ``offered``, which come in
random order; rank is the place in Plumbline's model of the node.
"""

from itertools import combinations

from agent.model.inventory import Distance, nvlinks_between
from agent.planning.placement import PlacementTable, Request
from agent.planning.placement_model import build_model

# How near PCIe makes two GPUs, and what an NVLink is worth beside it.
CLASS_SCORE = {
    Distance.PIX: 50,
    Distance.PXB: 40,
    Distance.PHB: 30,
    Distance.NODE: 20,
    Distance.SYS: 10,
}
LINK_SCORE, MOST_LINKS = 100, 18


def plumbline(inventory):
    """Ask PlacementTable, with the default policy; nobody else is on the node."""
    table = PlacementTable(inventory, inventory.gpus)
    uuids = table.model.uuids
    ranks = {uuid: rank for rank, uuid in enumerate(uuids)}

    def take(offered, size):
        request = Request(available=tuple(uuids[rank] for rank in offered), size=size)
        return [ranks[uuid] for uuid in table.choose(request).devices]

    return take


def first_offered(_inventory):
    """Take the first: random, as the order is."""

    def take(offered, size):
        return offered[:size]

    return take


def greedy_nearest(inventory):
    """Take the first, then always the one with the most GB/s to those taken."""
    gbps = build_model(inventory, inventory.gpus).pair_gbps

    def take(offered, size):
        taken, left = offered[:1], offered[1:]
        while len(taken) < size:
            nearest = max(left, key=lambda rank: sum(gbps[rank][other] for other in taken))
            left = [rank for rank in left if rank != nearest]
            taken = [*taken, nearest]
        return taken

    return take


def pairwise_score(inventory):
    """Divide all that is offered into sets of the size so that scores of pairs sum up highest.

    Of that division the set with the highest score is taken; ties go to what comes first, and a
    single GPU is the first one offered. This is the published best-effort scheme of the device
    plugin in use today, with the benefit of the doubt twice: links through NVSwitches count as
    links, and the set that stays incomplete where the division does not come out even is never
    taken.
    """
    score = _scores(inventory)

    def of_set(chosen):
        return sum(score[a][b] for a, b in combinations(chosen, 2))

    def take(offered, size):
        if size == 1:
            return offered[:1]
        best = max(divisions(offered, size), key=lambda sets: sum(map(of_set, sets)))
        return list(max((each for each in best if len(each) == size), key=of_set))

    return take


def _scores(inventory):
    gpus = [inventory.gpu(uuid) for uuid in build_model(inventory, inventory.gpus).uuids]
    return [[_score(inventory, a, b) for b in gpus] for a in gpus]


def _score(inventory, a, b):
    links = min(nvlinks_between(a, b), MOST_LINKS)
    return LINK_SCORE * links + CLASS_SCORE.get(inventory.distance(a.uuid, b.uuid), 0)


def divisions(devices, size):
    """Yield every division into sets of a size, at most one of them incomplete."""
    return _divisions(tuple(devices), size, len(devices) % size)


def _divisions(devices, size, incomplete):
    if not devices:
        yield ()
        return
    first, others = devices[0], devices[1:]
    for length, left_over in ((size, incomplete), (incomplete, 0)):
        if length and len(devices) >= length:
            for more in combinations(others, length - 1):
                left = tuple(device for device in others if device not in more)
                for rest in _divisions(left, size, left_over):
                    yield ((first, *more), *rest)


CONTENDERS = {
    "plumbline": plumbline,
    "pairwise_score": pairwise_score,
    "greedy_nearest": greedy_nearest,
    "random": first_offered,
}
