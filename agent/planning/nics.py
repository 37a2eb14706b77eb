"""NICs given together with GPUs: which, by what device nodes, and who gets none. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from agent.config.own import Nics
from agent.model.inventory import Distance, Gpu, Inventory, Nic
from agent.planning.nic_match import match_rounds
from agent.planning.rails import nics_beside, usable_nics

RDMA_CM = "/dev/infiniband/rdma_cm"
NCCL_IB_HCA = "NCCL_IB_HCA"

_NEAREST_FIRST = tuple(Distance)


class GivenRail(Struct, frozen=True, kw_only=True):
    """A NIC given for a GPU."""

    nic: str
    gpu: str
    """UUID."""
    distance: str
    """``PIX``; ``C2C`` where the CPU is coherent with its GPUs and PCIe says nothing."""
    device_node: str
    shared_with: int
    """How many other containers were given it too."""


class MissingRail(Struct, frozen=True, kw_only=True):
    """A GPU that got fewer NICs than it should, and why."""

    gpu: str
    reason: str


class Allotment(Struct, frozen=True, kw_only=True):
    """The NICs of one container."""

    rails: tuple[GivenRail, ...] = ()
    missing: tuple[MissingRail, ...] = ()

    @property
    def nics(self) -> tuple[str, ...]:
        """Return the NICs by name, each once, in the order of the GPUs."""
        return tuple(dict.fromkeys(rail.nic for rail in self.rails))

    @property
    def device_nodes(self) -> tuple[str, ...]:
        """Return the NICs' device nodes, each once."""
        return tuple(dict.fromkeys(rail.device_node for rail in self.rails))


def allot(
    inventory: Inventory,
    gpus: Sequence[Gpu],
    wanted: Nics,
    taken: Mapping[str, int],
    *,
    claimed: Collection[str] = (),
) -> Allotment:
    """Return the NICs of a container that gets these GPUs.

    Every GPU gets ``wanted.per_gpu`` of the NICs beside it that no container has, as far as
    they go round; then, where ``wanted.shared`` allows, those that the fewest others have.
    ``taken`` says how many other containers have a NIC; those that are ``claimed``
    ResourceClaims have to themselves.
    """
    beside = {gpu.uuid: _reachable(inventory, gpu, claimed) for gpu in gpus}
    names = {uuid: [nic.name for nic in nics] for uuid, nics in beside.items()}
    own = match_rounds(names, wanted.per_gpu, taken)
    rails: list[GivenRail] = []
    missing: list[MissingRail] = []
    for gpu in gpus:
        chosen = own[gpu.uuid]
        if wanted.shared:
            chosen = [*chosen, *_shared(names[gpu.uuid], chosen, wanted.per_gpu, taken, rails)]
        nics = {nic.name: nic for nic in beside[gpu.uuid]}
        rails += [_given(inventory, gpu, nics[name], taken) for name in chosen]
        if len(chosen) < wanted.per_gpu:
            reason = _reason(
                inventory, gpu, names[gpu.uuid], wanted=wanted, taken=taken, claimed=claimed
            )
            missing.append(MissingRail(gpu=gpu.uuid, reason=reason))
    return Allotment(rails=tuple(rails), missing=tuple(missing))


def _reachable(inventory: Inventory, gpu: Gpu, claimed: Collection[str]) -> tuple[Nic, ...]:
    beside = nics_beside(inventory, gpu)
    return tuple(n for n in beside if n.verbs_node is not None and n.name not in claimed)


def _shared(
    beside: Iterable[str],
    own: Sequence[str],
    wanted: int,
    taken: Mapping[str, int],
    given: Iterable[GivenRail],
) -> list[str]:
    """Return NICs to make up with that others have, too: other containers or other GPUs."""
    here = [rail.nic for rail in given]
    others = [name for name in beside if name not in own]
    others.sort(key=lambda name: (taken.get(name, 0) + here.count(name), name))
    return others[: wanted - len(own)]


def _given(inventory: Inventory, gpu: Gpu, nic: Nic, taken: Mapping[str, int]) -> GivenRail:
    distance = inventory.distance(gpu.uuid, nic.name)
    return GivenRail(
        nic=nic.name,
        gpu=gpu.uuid,
        distance="C2C" if gpu.c2c_links else str(distance or "unknown"),
        device_node=nic.verbs_node or "",
        shared_with=taken.get(nic.name, 0),
    )


def _reason(
    inventory: Inventory,
    gpu: Gpu,
    beside: Sequence[str],
    *,
    wanted: Nics,
    taken: Mapping[str, int],
    claimed: Collection[str],
) -> str:
    everything = [nic.name for nic in nics_beside(inventory, gpu)]
    if having := [name for name in everything if name in claimed]:
        rest = f"; beside it is {', '.join(beside)} only" if beside else ""
        return f"claims have {', '.join(having)}{rest}"
    if 0 < len(beside) < wanted.per_gpu:
        return f"beside it is {', '.join(beside)} only, and nics.perGpu is {wanted.per_gpu}"
    if beside:
        held = [name for name in beside if taken.get(name)]
        whose = "other containers have" if held else "other GPUs of this container have"
        return f"{whose} {', '.join(held or beside)}, and nics.shared is false"
    if everything:
        return f"{', '.join(everything)} has no device node in /dev/infiniband"
    return f"no usable NIC is beside it; {_nearest(inventory, gpu)}"


def _nearest(inventory: Inventory, gpu: Gpu) -> str:
    known = list(_distances(inventory, gpu))
    if not known:
        return "the node has none whose RDMA port is up"
    distance, name = min(known, key=lambda each: (_NEAREST_FIRST.index(each[0]), each[1]))
    return f"the nearest is {name} at {distance}"


def _distances(inventory: Inventory, gpu: Gpu) -> Iterator[tuple[Distance, str]]:
    for nic in usable_nics(inventory):
        distance = inventory.distance(gpu.uuid, nic.name)
        if distance is not None:
            yield distance, nic.name


def nccl_hcas(nics: Sequence[str]) -> str:
    """Return NICs as NCCL_IB_HCA has them: exact names (``=``), as mlx5_1 begins mlx5_10, too.

    Source: NCCL's user guide, environment variables.
    """
    return "=" + ",".join(nics)
