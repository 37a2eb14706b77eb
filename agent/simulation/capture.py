"""A Capture: what `nvidia-smi topo -m` printed on some machine, read as people paste it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from msgspec import Struct

from agent.model.errors import ConfigError
from agent.model.inventory import Distance
from agent.simulation import capture_lines
from agent.simulation.capture_lines import Header, Line, Row


class Relation(Struct, frozen=True, kw_only=True):
    """What one cell says of two devices."""

    distance: Distance | None
    """None below NVLinks, which hide it."""
    nvlinks: int = 0
    on_board: bool = False
    """True for PSB: both are dies of one board."""


class CapturedGpu(Struct, frozen=True, kw_only=True):
    """One GPU row. None is: the column is missing, or its cell is blank or N/A."""

    name: str
    cpu_affinity: tuple[int, ...] | None
    numa_affinity: tuple[int, ...] | None
    memory_node: int | None


class Capture(Struct, frozen=True, kw_only=True):
    """One matrix."""

    gpus: tuple[CapturedGpu, ...]
    nics: tuple[str, ...]
    """Column names in their order."""
    legend: Mapping[str, str]
    """RDMA device by column name, where the NIC legend tells."""
    relations: Mapping[frozenset[str], Relation]
    """By unordered pair of column names; a pair that no row tells is left out."""
    has_numa: bool
    """False where the driver printed no NUMA column."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Return all column names."""
        return (*(gpu.name for gpu in self.gpus), *self.nics)


_DISTANCES: Mapping[str, Distance] = {
    "SOC": Distance.SYS,  # what SYS was called by drivers before 387
    "PSB": Distance.PIX,  # the switch on a dual GPU board
} | {distance.value: distance for distance in Distance}


def parse(text: str, *, where: str) -> Capture:
    """Return the matrix in ``text``, whatever stands around it.

    Raises ConfigError that names ``where``, the line and the reason for anything that cannot be
    read as what nvidia-smi means by it.
    """
    lines = capture_lines.clean(text)
    if not any(line.text.strip() for line in lines):
        raise ConfigError(f"{where}: the capture is empty; paste what 'nvidia-smi topo -m' prints")
    try:
        header = capture_lines.find_header(lines)
        rows = _rows(lines, header)
        relations = _relations(rows, header)
        gpus = tuple(_gpu(row) for row in rows.values() if row.name in header.gpus)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Capture(
        gpus=gpus,
        nics=header.nics,
        legend=capture_lines.find_legend(lines),
        relations=relations,
        has_numa=capture_lines.NUMA_TITLE in header.titles,
    )


def _rows(lines: Sequence[Line], header: Header) -> dict[str, Row]:
    """Return the rows by name, in the header's order."""
    found: dict[str, Row] = {}
    for line in lines:
        row = capture_lines.read_row(line, header)
        if row is None:
            continue
        if row.name in found:
            raise line.refuse(
                f"a second row {row.name}, the first is line {found[row.name].line.number}; "
                "import one matrix at a time"
            )
        found[row.name] = row
    for name in header.gpus:
        if name not in found:
            raise header.line.refuse(f"this header has a column {name}, but no row {name} follows")
    return {name: found[name] for name in header.names if name in found}


def _gpu(row: Row) -> CapturedGpu:
    return CapturedGpu(
        name=row.name,
        cpu_affinity=row.cpu_affinity,
        numa_affinity=row.numa_affinity,
        memory_node=row.memory_node,
    )


def _relations(rows: Mapping[str, Row], header: Header) -> dict[frozenset[str], Relation]:
    for name, row in rows.items():
        for column, word in zip(header.names, row.words, strict=True):
            if (word == "X") != (column == name):
                raise row.line.refuse(
                    f"{name}-{column} is '{word}': X stands where a device meets itself, "
                    "and only there"
                )
    relations: dict[frozenset[str], Relation] = {}
    for a, b in itertools.combinations(header.names, 2):
        told = [(one, other) for one, other in ((a, b), (b, a)) if one in rows]
        if told:
            relations[frozenset((a, b))] = _agreed(rows, header, told)
    return relations


def _agreed(rows: Mapping[str, Row], header: Header, told: Sequence[tuple[str, str]]) -> Relation:
    """Return what the cells of one pair say; raise ConfigError where they disagree."""
    words = [rows[a].words[header.names.index(b)] for a, b in told]
    relations = [_relation(word) for word in words]
    if relations[0] != relations[-1]:
        (a, b), (c, d) = told
        raise rows[c].line.refuse(
            f"{c}-{d} is '{words[1]}', but {a}-{b} is '{words[0]}' in line {rows[a].line.number}: "
            "both cells tell one distance; correct the wrong one"
        )
    return relations[0]


def _relation(word: str) -> Relation:
    if word.startswith("NV"):
        return Relation(distance=None, nvlinks=int(word[2:]))
    return Relation(distance=_DISTANCES[word], on_board=word == "PSB")
