"""Reads the matrices beside this file, which are clean, without the product's parser."""

from pathlib import Path

HERE = Path(__file__).parent
CAPTURES = sorted(path.stem for path in HERE.glob("*.txt"))
OLD_WORDS = {"SOC": "SYS"}
TITLES = ("CPU Affinity", "NUMA Affinity", "GPU NUMA ID")


def text(name):
    return (HERE / f"{name}.txt").read_text()


def cells(name):
    """Return {(row, column): word} of a capture, X left out."""
    header, rows = _split(name)
    return {
        (row[0], column): OLD_WORDS.get(word, word)
        for row in rows
        for column, word in zip(_devices(header), row[1:], strict=False)
        if word not in ("X", "")
    }


def affinities(name):
    """Return {GPU: (cpus, nodes, memory node)} as printed; None where there is no column."""
    header, rows = _split(name)
    width = len(_devices(header))
    titles = [title for title in TITLES if title in header]
    found = {}
    for row in rows:
        if row[0].startswith("GPU"):
            printed = [cell for cell in row[1 + width :] if cell]
            by_title = dict(zip(titles, printed, strict=True))
            found[row[0]] = tuple(by_title.get(title) for title in TITLES)
    return found


def _devices(header):
    return [name for name in header if name not in (*TITLES, "")]


def _split(name):
    lines = [line for line in text(name).splitlines() if line.strip() and line[0] != "#"]
    split = (line.split("\t") if "\t" in line else _spaced(line) for line in lines)
    stripped = [[cell.strip() for cell in line] for line in split]
    return [cell for cell in stripped[0] if cell], stripped[1:]


def _spaced(line):
    joined = line.replace("CPU Affinity", "CPU~Affinity").split()
    return [cell.replace("~", " ") for cell in joined]
