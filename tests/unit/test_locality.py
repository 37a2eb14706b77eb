"""The locality file: what it says, and what is said about a wrong one."""

import os
from pathlib import Path

import pytest

from agent.discovery.locality import read_overrides
from agent.model.errors import ConfigError
from agent.model.inventory import Distance
from agent.simulation import locality
from agent.simulation.spec import DistanceOverride

GPU = "GPU-1d4b1c5e-0c4e-5ff7-8a21-0a1c3a3bd4f0"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "locality.yaml"


@pytest.fixture
def read(file):
    def read(entries, *, version="version: v1\n"):
        file.write_text(f"{version}distances:\n{entries}")
        return read_overrides(file)

    return read


@pytest.fixture
def complaint(read, file):
    """What is said about a file, with its path left out where a line begins."""

    def complaint(*arguments, **options):
        with pytest.raises(ConfigError) as caught:
            read(*arguments, **options)
        return str(caught.value).replace(f"{file}:", "line ")

    return complaint


def test_pairs_are_unordered_and_devices_go_by_any_name(read):
    found = read(
        "- {devices: ['0000:1B:00.0', mlx5_0], distance: PXB}\n"
        f"- {{devices: [eth3, {GPU}], distance: SYS}}\n"
        "- devices: ['10000:e1:00.0', '0000:29:00.0']\n  distance: NODE\n"
    )

    assert found == {
        frozenset({"mlx5_0", "0000:1b:00.0"}): Distance.PXB,
        frozenset({GPU, "eth3"}): Distance.SYS,
        frozenset({"10000:e1:00.0", "0000:29:00.0"}): Distance.NODE,
    }


@pytest.mark.parametrize("address", ["0000:18:00.0", "0000:00:1f.7", "0001:21:10.0"])
def test_an_address_needs_no_quotes(read, address):
    assert read(f"- {{devices: [{address}, mlx5_0], distance: PIX}}\n") == {
        frozenset({address, "mlx5_0"}): Distance.PIX
    }


def test_what_the_simulation_writes_is_read(file):
    stated = DistanceOverride(a="0000:1b:00.0", b="0000:29:00.0", distance=Distance.SYS)
    file.write_bytes(locality.render([stated]))

    assert read_overrides(file) == {frozenset({"0000:1b:00.0", "0000:29:00.0"}): Distance.SYS}


def test_no_file_and_no_distances_override_nothing(file, read):
    assert read_overrides(file) == {}
    assert read("") == {}
    file.unlink()
    file.symlink_to("nowhere")
    assert read_overrides(file) == {}


def test_the_same_said_twice_is_no_contradiction(read):
    twice = "- {devices: [a, b], distance: PIX}\n- {devices: [b, a], distance: PIX}\n"

    assert read(twice) == {frozenset("ab"): Distance.PIX}


def test_a_contradiction_names_both(complaint):
    said = complaint(
        "- {devices: [mlx5_0, '0000:1B:00.0'], distance: PIX}\n"
        "- {devices: [a, b], distance: PIX}\n"
        "- {devices: ['0000:1b:00.0', mlx5_0], distance: SYS}\n"
    )

    assert said == (
        "line 5: distances[2]: SYS for 0000:1b:00.0 and mlx5_0, which distances[0] (line 3) "
        "says are PIX; keep one of the two"
    )


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            "{devices: [a, b], distance: pxb}",
            (
                "distances[0].distance: 'pxb' is not one of PIX, PXB, PHB, NODE, SYS; did you mean "
                "'PXB'?"
            ),
        ),
        (
            "{devices: [a, b], distance: NV18}",
            "distances[0].distance: 'NV18' is not one of PIX, PXB, PHB, NODE, SYS",
        ),
        (
            "{device: [a, b], distance: PIX}",
            "distances[0].device: unknown key (value: a list); did you mean 'devices'?",
        ),
        (
            "{devices: [a, b], distance: PIX, level: info}",
            "distances[0].level: unknown key (value: 'info'); the keys here are devices, distance",
        ),
        (
            "{devices: [a, b]}",
            "distances[0].distance: is missing; expected one of PIX, PXB, PHB, NODE, SYS",
        ),
        (
            "{distance: PIX}",
            "distances[0].devices: is missing; expected two devices, as in [mlx5_0, eth1]",
        ),
        (
            "{devices: a, distance: PIX}",
            "distances[0].devices: 'a' is not two devices, as in [mlx5_0, eth1]",
        ),
        (
            "{devices: [a, 5], distance: PIX}",
            (
                "distances[0].devices[1]: YAML reads 5 as a number; expected a device's name or "
                "PCI address (put it in quotes)"
            ),
        ),
        ("{devices: [a], distance: PIX}", "distances[0].devices: 1 devices (a); name two"),
        (
            "{devices: [a, b, c], distance: PIX}",
            "distances[0].devices: 3 devices (a, b, c); name two",
        ),
        (
            "{devices: [a, a], distance: PIX}",
            "distances[0].devices: a distance of a to itself; name two devices",
        ),
        (
            "{devices: ['0000:1B:00.0', '0000:1b:00.0'], distance: PIX}",
            "distances[0].devices: a distance of 0000:1b:00.0 to itself; name two devices",
        ),
        (
            "{devices: ['00000000:1B:00.0', b], distance: PIX}",
            (
                "distances[0].devices: '00000000:1B:00.0' is no PCI address; did you mean "
                "'0000:1b:00.0'?"
            ),
        ),
        (
            "{devices: [b, '1b:00.0'], distance: PIX}",
            "distances[0].devices: '1b:00.0' is no PCI address; did you mean '0000:1b:00.0'?",
        ),
        (
            "{devices: [b, '0000:1b:00'], distance: PIX}",
            (
                "distances[0].devices: '0000:1b:00' is no PCI address; write it as sysfs does, as "
                "in 0000:1b:00.0"
            ),
        ),
        ("PIX", "distances[0]: 'PIX' is not a mapping"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line_and_what_would_fit(complaint, entry, told):
    assert complaint(f"- {entry}\n") == f"line 3: {told}"


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("", "line 1: version: is missing; expected v1"),
        ("version: v2\n", "line 1: version: 'v2' is not v1"),
        ("version: v1\nversion: v1\n", "line 2: version: the key stands twice, first on line 1"),
        (
            "version: v1\nditances: []\n",
            "line 2: ditances: unknown key (value: a list); did you mean 'distances'?",
        ),
        ("version: [\n", "line 3:1: not YAML: while parsing a flow node"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(complaint, version, told):
    assert complaint("", version=version).startswith(told)


def test_every_problem_is_told_at_once(complaint):
    said = complaint(
        "- {devices: [a, b], distance: PXI}\n- {devices: [a, a], distance: PIX}\n- {devices: [a]}\n"
    ).splitlines()

    assert [line.split(":")[0].strip() for line in said[1:]] == ["line 3", "line 5"]


def test_an_empty_file_is_told_from_none(file):
    file.touch()

    with pytest.raises(ConfigError, match="is empty; write version, distances, or remove the"):
        read_overrides(file)


@pytest.mark.timeout(5)
def test_what_is_no_file_neither_blocks_nor_fills_the_memory(file):
    os.mkfifo(file)
    told = {
        file: "is a pipe; name a file",
        file.parent: "Is a directory; correct its mount or remove it",
        file / "below": "Not a directory; correct its mount or remove it",
        file.parent / "loop": "Too many levels of symbolic links",
        file.parent / "huge": "larger than 1 MiB; it is not a locality file",
        file.parent / "endless": "larger than 1 MiB; it is not a locality file",
        file.parent / "binary": "is not UTF-8 text (byte 0); save it as UTF-8",
    }
    (file.parent / "loop").symlink_to("loop")
    (file.parent / "endless").symlink_to("/dev/zero")
    (file.parent / "binary").write_bytes(b"\xff\xfe")
    with (file.parent / "huge").open("wb") as huge:
        huge.truncate(2**40)

    for path, reason in told.items():
        with pytest.raises(ConfigError) as caught:
            read_overrides(path)
        assert str(path) in str(caught.value)
        assert reason in str(caught.value)


def test_a_silent_terminal_is_not_waited_for():
    ours, theirs = os.openpty()
    try:
        with pytest.raises(ConfigError, match="has nothing to read yet; name a file"):
            read_overrides(Path(os.ttyname(theirs)))
    finally:
        os.close(ours)
        os.close(theirs)
