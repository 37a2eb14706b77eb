"""The lines of a capture: header, rows and legend, through everything terminals do to them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from agent.model.errors import ConfigError
from agent.simulation import lists

CPU_TITLE, NUMA_TITLE, MEMORY_TITLE = "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"

_SHOWN = 160
_MOST_LINKS = 36  # NVML_NVLINK_MAX_LINKS

# Colours and underlines, also where copying lost the escape character itself.
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\[[0-9;]*m|[\r\x00\x07\ufeff]")
_TITLE = re.compile(r"CPU\s+Affinity|NUMA\s+Affinity|GPU\s+NUMA\s+ID")
_GPU = re.compile(r"GPU\d+")
_GLUED_NAMES = re.compile(r"GPU\d+|NIC\d+|mlx\d+_(?:bond_)?\d+")
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_LEGEND = re.compile(r"\b(NIC\d+)\s*:\s*([A-Za-z][\w.-]*)")
_DISTANCE_WORDS = ("PIX", "PXB", "PHB", "NODE", "SYS", "SOC", "PSB")
_CELL = re.compile(
    rf"NV\d+|{'|'.join(_DISTANCE_WORDS)}|X(?![A-Z])|X(?=NV\d|PIX|PXB|PHB|NODE|S[YO])"
)
_NO_VALUE = ("", "N/A")


class Line(Struct, frozen=True):
    """One line, without what a terminal put into it."""

    number: int
    text: str

    def refuse(self, reason: str) -> ConfigError:
        """Return the error that this line cannot be read: number, reason and the line."""
        shown = " ".join(self.text.split())
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]} ..."
        return ConfigError(f"line {self.number}: {reason}\n    {shown}")


class Header(Struct, frozen=True, kw_only=True):
    """The line that names the columns."""

    line: Line
    names: tuple[str, ...]
    titles: tuple[str, ...]
    """The columns behind the devices."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """Return the GPUs' columns."""
        return tuple(name for name in self.names if _GPU.fullmatch(name))

    @property
    def nics(self) -> tuple[str, ...]:
        """Return the other devices' columns."""
        return tuple(name for name in self.names if not _GPU.fullmatch(name))


class Row(Struct, frozen=True, kw_only=True):
    """The line of one device."""

    line: Line
    name: str
    words: tuple[str, ...]
    """One for each device of the header."""
    cpu_affinity: tuple[int, ...] | None
    numa_affinity: tuple[int, ...] | None
    memory_node: int | None


def clean(text: str) -> list[Line]:
    """Return the lines, numbered from 1; comments are blank."""
    plain = (_TERMINAL.sub("", line).replace("\xa0", " ") for line in text.split("\n"))
    return [
        Line(number, "" if line.lstrip().startswith("#") else line)
        for number, line in enumerate(plain, start=1)
    ]


def find_header(lines: Sequence[Line]) -> Header:
    """Return the one header; raise ConfigError for none, for two, or for one that has gaps."""
    headers = [header for header in map(_read_header, lines) if header is not None]
    if not headers:
        raise ConfigError(
            f"no matrix in {len(lines)} lines: none is a header like 'GPU0 GPU1 ... CPU Affinity'"
        )
    first = headers[0]
    if len(headers) > 1:
        raise headers[1].line.refuse(
            f"a second matrix starts here, the first in line {first.line.number}; "
            "import one at a time"
        )
    for name in first.names:
        if first.names.count(name) > 1:
            raise first.line.refuse(f"two columns {name}")
    if first.gpus != tuple(f"GPU{index}" for index in range(len(first.gpus))):
        raise first.line.refuse("the GPUs' columns must be GPU0, GPU1 ... without a gap")
    return first


def find_legend(lines: Sequence[Line]) -> dict[str, str]:
    """Return what the NIC legend says: the RDMA device of each NIC column."""
    found = (match for line in lines for match in _LEGEND.finditer(line.text))
    return {match[1]: match[2] for match in found}


def read_row(line: Line, header: Header) -> Row | None:
    """Return the row in a line, None where it is none; raise ConfigError for a broken one."""
    if line.number <= header.line.number:
        return None
    text = line.text.lstrip()
    name = _row_name(text, header)
    if name is None:
        _check_no_row(line, header)
        return None
    words, rest = _split_cells(line, text[len(name) :], name=name, header=header)
    affinity = dict.fromkeys((CPU_TITLE, NUMA_TITLE, MEMORY_TITLE), "")
    if name in header.gpus:
        affinity |= _affinity(line, rest, header)
    return Row(
        line=line,
        name=name,
        words=words,
        cpu_affinity=_numbers(line, affinity[CPU_TITLE], what=f"CPU affinity of {name}"),
        numa_affinity=_numbers(line, affinity[NUMA_TITLE], what=f"NUMA affinity of {name}"),
        memory_node=_number(line, affinity[MEMORY_TITLE], what=f"GPU NUMA ID of {name}"),
    )


def _read_header(line: Line) -> Header | None:
    titles = tuple(" ".join(title.split()) for title in _TITLE.findall(line.text))
    bare = _TITLE.sub(" ", line.text)
    names = [name for token in bare.split() for name in _split_names(token)]
    is_header = (
        bool(names)
        and _GPU.fullmatch(names[0]) is not None
        and (len(names) > 1 or bool(titles))
        and all(map(_is_device_name, names))
    )
    return Header(line=line, names=tuple(names), titles=titles) if is_header else None


def _split_names(token: str) -> list[str]:
    """Return the names in a token: several where a terminal swallowed the tab between them."""
    parts = _GLUED_NAMES.findall(token)
    return parts if "".join(parts) == token else [token]


def _is_device_name(text: str) -> bool:
    """Tell names from prose and from cells: every device of the kernel has a number."""
    has_number = any(letter.isdigit() or letter == "_" for letter in text)
    return bool(_NAME.fullmatch(text)) and has_number and not _CELL.fullmatch(text)


def _row_name(text: str, header: Header) -> str | None:
    token = text.split(maxsplit=1)[0] if text else ""
    if token in header.names:
        return token
    # A swallowed tab: the name runs into its first cell.
    glued = (name for name in header.names if token.startswith(name))
    return next((name for name in glued if _CELL.match(token, len(name))), None)


def _check_no_row(line: Line, header: Header) -> None:
    """Refuse a line that is no row but looks like one: reading past it would lose data."""
    tokens = line.text.split()
    cells = sum(_CELL.fullmatch(token) is not None for token in tokens)
    if not cells or "=" in tokens:  # the legend: "SYS = Connection ..."
        return
    if cells == len(tokens) or _CELL.fullmatch(tokens[0]):
        raise line.refuse(
            "cells without a device: a terminal wrapped the row above; capture it on a wider one"
        )
    if _is_device_name(tokens[0]):
        raise line.refuse(
            f"a row {tokens[0]}, but the header in line {header.line.number} has no such column"
        )


def _split_cells(
    line: Line, text: str, *, name: str, header: Header
) -> tuple[tuple[str, ...], str]:
    """Return one word for each device, and what stands behind them."""
    words: list[str] = []
    position = 0
    while len(words) < len(header.names):
        position += len(text[position:]) - len(text[position:].lstrip())
        match = _CELL.match(text, position)
        if match is None or _runs_on(text, match.end()):
            raise _bad_cell(line, text[position:], words, name=name, header=header)
        words.append(match[0])
        position = match.end()
    rest = text[position:]
    if more := _CELL.match(rest.lstrip()):
        raise line.refuse(
            f"row {name} has a cell '{more[0]}' beyond the {len(header.names)} devices of the "
            f"header in line {header.line.number}"
        )
    links = max((int(word[2:]) for word in words if word.startswith("NV")), default=0)
    if links > _MOST_LINKS:
        raise line.refuse(f"row {name} has a cell 'NV{links}', but no GPU has so many NVLinks")
    return tuple(words), rest


def _runs_on(text: str, end: int) -> bool:
    """Tell a longer word (NODES) from cells and lists whose tab was swallowed (NODESYS, SYS0-3)."""
    swallowed = _CELL.match(text, end) or text.startswith("N/A", end)
    return text[end : end + 1].isalpha() and not swallowed


def _bad_cell(
    line: Line, text: str, words: Sequence[str], *, name: str, header: Header
) -> ConfigError:
    found = text.split(maxsplit=1)[0] if text else ""
    if not found or found[0].isdigit() or found == "N/A":
        return line.refuse(
            f"row {name} has {len(words)} cells, but the header in line {header.line.number} "
            f"names {len(header.names)} devices"
        )
    known = (*_DISTANCE_WORDS, "NV1", "X")
    near = difflib.get_close_matches(found.upper(), known, n=1, cutoff=0)[0]
    near = "NV#" if near == "NV1" else near
    column = header.names[len(words)]
    return line.refuse(
        f"{name}-{column} is '{found}', which is no word of nvidia-smi; the nearest is '{near}'"
    )


def _affinity(line: Line, rest: str, header: Header) -> dict[str, str]:
    """Return the texts of the columns behind the devices, by title."""
    tokens = rest.split()
    if len(tokens) > len(header.titles):
        raise line.refuse(
            f"'{tokens[-1]}' stands in no column of the header in line {header.line.number}"
        )
    if len(tokens) == len(header.titles):
        return dict(zip(header.titles, tokens, strict=True))
    if "\t" in rest:
        return _by_tabs(rest, header.titles)
    return dict(_by_place(line, len(tokens), header))


def _by_tabs(rest: str, titles: Sequence[str]) -> dict[str, str]:
    """Return blank cells as blank: tabs count, the two before GPU NUMA ID as one."""
    cells = [cell.strip() for cell in rest.split("\t")]
    if not cells[0]:
        del cells[0]  # what is left of the last device's cell
    told = dict(zip((title for title in titles if title != MEMORY_TITLE), cells, strict=False))
    if MEMORY_TITLE in titles:
        told[MEMORY_TITLE] = "".join(cells[len(titles) - 1 :])
    return told


def _by_place(line: Line, count: int, header: Header) -> Iterator[tuple[str, str]]:
    """Yield the cells of a row whose blanks are only spaces: the nearest title has each."""
    row, top = line.text.expandtabs(), header.line.text.expandtabs()
    places = {match.start(): " ".join(match[0].split()) for match in _TITLE.finditer(top)}
    cells = list(re.finditer(r"\S+", row))[-count:] if count else []
    taken: set[str] = set()
    for cell in cells:
        title = places[min(places, key=lambda start: abs(start - cell.start()))]
        if title in taken:
            raise line.refuse(
                f"'{cell[0]}': with a cell left blank it is not plain which column this is; "
                "write N/A into the blank one"
            )
        taken.add(title)
        yield title, cell[0]


def _numbers(line: Line, text: str, *, what: str) -> tuple[int, ...] | None:
    if text in _NO_VALUE:
        return None
    try:
        return lists.parse(text, what=what)
    except ConfigError as error:
        raise line.refuse(str(error)) from error


def _number(line: Line, text: str, *, what: str) -> int | None:
    numbers = _numbers(line, text, what=what)
    if numbers is not None and len(numbers) != 1:
        raise line.refuse(f"{what}: '{text}' is no number of a node")
    return numbers[0] if numbers else None
