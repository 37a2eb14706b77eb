"""Finds a GPU model and a wiring of NVLinks that give a capture's NV# cells."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from msgspec import Struct

from agent.model.errors import ConfigError
from agent.simulation import parts
from agent.simulation.capture import Capture
from agent.simulation.parts import GpuModel
from agent.simulation.profile import Nvlink

# By how many links a GPU uses; through switches, every pair of GPUs shows all of them.
_BY_LINKS = (
    (4, "p100-sxm2-16gb"),
    (6, "v100-sxm2-32gb"),
    (12, "a100-sxm4-40gb"),
    (18, "h100-sxm5-80gb"),
)
# Boards that are joined in pairs by bridges, by the links of a bridge.
_BRIDGED = {4: "rtx-a6000", 12: "a100-pcie-40gb"}
_SWITCHES = {"volta": 12, "ampere": 6, "hopper": 4}  # PCI functions of an 8 or 16 GPU board


class Wiring(Struct, frozen=True, kw_only=True):
    """GPUs and their NVLinks."""

    model: str
    """Name in parts/gpus.yaml."""
    nvlink: Nvlink
    switches: int
    """How many NVSwitches show a PCI function."""


def wire(capture: Capture, model: str | None) -> Wiring:
    """Return GPUs and links that give the captured counts; ``model`` None has it guessed.

    Raises ConfigError where the model has no such links, or no wiring gives these counts.
    """
    counts = _counts(capture)
    totals = _totals(capture, counts)
    name = model or _guess(capture, counts, totals)
    known = parts.shipped().gpu(name)
    links = known.nvlinks.count if known.nvlinks else 0
    if max(totals.values(), default=0) <= links:
        direct = {f"{a}-{b}": count for (a, b), count in counts.items() if count}
        return Wiring(model=name, nvlink=Nvlink(direct=direct), switches=0)
    return _switched(capture, counts, name, known)


def _counts(capture: Capture) -> dict[tuple[int, int], int]:
    """Return the links of each pair of GPUs, lower index first."""
    names = [gpu.name for gpu in capture.gpus]
    pairs = itertools.combinations(range(len(names)), 2)
    return {(a, b): capture.relations[frozenset((names[a], names[b]))].nvlinks for a, b in pairs}


def _totals(capture: Capture, counts: Mapping[tuple[int, int], int]) -> dict[int, int]:
    return {
        index: sum(count for pair, count in counts.items() if index in pair)
        for index in range(len(capture.gpus))
    }


def _guess(
    capture: Capture, counts: Mapping[tuple[int, int], int], totals: Mapping[int, int]
) -> str:
    most = max(counts.values(), default=0)
    total = max(totals.values(), default=0)
    if any(gpu.memory_node is not None for gpu in capture.gpus):
        return "gb200" if len(capture.gpus) > 1 else "gh200-96gb"
    if not most:
        on_board = any(relation.on_board for relation in capture.relations.values())
        old = on_board or any(nic.startswith("mlx4") for nic in capture.nics)
        return "k80" if old else "l40s"
    if total == most and most in _BRIDGED:
        return _BRIDGED[most]
    exact = dict(_BY_LINKS)
    if total in exact:
        return exact[total]
    if most in exact:
        return exact[most]
    fits = [name for links, name in _BY_LINKS if links >= min(total, _BY_LINKS[-1][0])]
    return fits[0]


def _switched(
    capture: Capture, counts: Mapping[tuple[int, int], int], name: str, model: GpuModel
) -> Wiring:
    """Return a wiring through switches: a pair shows as many links as its poorer GPU has up."""
    links = model.nvlinks.count if model.nvlinks else 0
    up = {
        index: max((count for pair, count in counts.items() if index in pair), default=0)
        for index in range(len(capture.gpus))
    }
    for index, count in up.items():
        if count > links:
            raise ConfigError(
                f"GPU{index} has NV{count}, but {model.name} has {links} NVLinks: "
                "name the right model with --gpu"
            )
    for (a, b), count in counts.items():
        if count != min(up[a], up[b]):
            shown = f"NV{count}" if count else "no NVLinks"
            raise ConfigError(
                f"GPU{a}-GPU{b}: {shown}, but GPU{a} has NV{up[a]} and GPU{b} NV{up[b]} to others: "
                f"no wiring of {links} links a GPU, direct or through switches, gives that"
            )
    down = {index: links - count for index, count in up.items() if count < links}
    return Wiring(
        model=name,
        nvlink=Nvlink(switched="all", down=down),
        switches=_SWITCHES.get(model.architecture, 0),
    )
