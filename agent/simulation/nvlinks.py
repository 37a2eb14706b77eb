"""Wires the NVLinks a profile describes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agent.model.errors import ConfigError
from agent.model.inventory import LinkPeer
from agent.simulation.profile import Nvlink
from agent.simulation.spec import GpuSpec, LinkSpec

_PAIR = re.compile(r"(\d+)-(\d+)")


def wire(wanted: Nvlink, gpus: Sequence[GpuSpec], switches: Sequence[str]) -> tuple[LinkSpec, ...]:
    """Return every NVLink, by GPU and link number.

    Links to switches are dealt round the switches' addresses; without one they lead to switches
    that have no PCI function on this node. Raises ConfigError where a GPU has too few links.
    """
    ends: dict[int, list[tuple[LinkPeer, str | None]]] = {gpu.index: [] for gpu in gpus}
    for index in _switched(wanted, gpus):
        ends[index] += _to_switches(_links(gpus[index]), switches)
    for a, b, count in _pairs(wanted, len(gpus)):
        ends[a] += [(LinkPeer.GPU, gpus[b].address)] * count
        ends[b] += [(LinkPeer.GPU, gpus[a].address)] * count
    for gpu in gpus:
        if len(ends[gpu.index]) > _links(gpu):
            raise ConfigError(
                f"nvlink: GPU {gpu.index} would need {len(ends[gpu.index])} links, "
                f"{gpu.model.name} has {_links(gpu)}"
            )
    down = _down(wanted, {index: len(found) for index, found in ends.items()})
    return tuple(
        LinkSpec(
            gpu=gpu,
            index=index,
            peer=peer,
            peer_address=address,
            up=index < len(found) - down.get(gpu, 0),
        )
        for gpu, found in ends.items()
        for index, (peer, address) in enumerate(found)
    )


def _links(gpu: GpuSpec) -> int:
    return gpu.model.nvlinks.count if gpu.model.nvlinks else 0


def _to_switches(count: int, switches: Sequence[str]) -> list[tuple[LinkPeer, str | None]]:
    if not switches:
        return [(LinkPeer.SWITCH, None)] * count
    return [(LinkPeer.SWITCH, switches[link % len(switches)]) for link in range(count)]


def _switched(wanted: Nvlink, gpus: Sequence[GpuSpec]) -> Sequence[int]:
    match wanted.switched:
        case "none":
            return ()
        case "all":
            return range(len(gpus))
        case indexes:
            for index in indexes:
                _check_index(index, len(gpus), where="nvlink.switched")
            return indexes


def _pairs(wanted: Nvlink, gpus: int) -> Iterator[tuple[int, int, int]]:
    seen: set[frozenset[int]] = set()
    for key, count in wanted.direct.items():
        where = f"nvlink.direct '{key}'"
        match = _PAIR.fullmatch(key)
        if match is None:
            raise ConfigError(f"{where}: a pair of GPUs is written like 0-3")
        a, b = int(match[1]), int(match[2])
        for index in (a, b):
            _check_index(index, gpus, where=where)
        if a == b or frozenset((a, b)) in seen or count < 0:
            raise ConfigError(f"{where}: name two GPUs, each pair once, and a count from 0")
        seen.add(frozenset((a, b)))
        yield a, b, count


def _down(wanted: Nvlink, links: dict[int, int]) -> dict[int, int]:
    for index, count in wanted.down.items():
        _check_index(index, len(links), where="nvlink.down")
        if not 0 <= count <= links[index]:
            raise ConfigError(f"nvlink.down: GPU {index} has {links[index]} links, not {count}")
    return wanted.down


def _check_index(index: int, gpus: int, *, where: str) -> None:
    if not 0 <= index < gpus:
        raise ConfigError(f"{where}: there is no GPU {index}; the machine has {gpus}")
