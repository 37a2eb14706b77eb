"""docs/kubelet.md names tests that exist, and sources that say what it is about."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kubelet.md").read_text()
FOLDERS = ("cluster", "kubelet", "unit")
# Of these files every test shows a fact, and a fact that is shown is worth telling.
ALL_ABOUT_THE_KUBELET = (
    "test_kubelet_facts",
    "test_kubelet_registration",
    "test_standin",
    "test_standin_misconduct",
)


def named_tests(text=PAGE):
    return set(re.findall(r"`(test_\w+)::(test_\w+)`", text))


def defined_in(stem):
    files = [path for folder in FOLDERS for path in (ROOT / "tests" / folder).glob(f"{stem}.py")]
    texts = [path.read_text() for path in files]
    return {
        name
        for text in texts
        for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)
    }


def rows():
    """The rows of every table of facts, as cells."""
    tables = re.findall(
        r"^\| fact \| source \| shown by \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE
    )
    for table in tables:
        for line in table.splitlines():
            yield [cell.strip() for cell in line.strip("|").split("|")]


def sources():
    return sorted(
        {pair for _, source, _ in rows() for pair in re.findall(r"`(\S+): (\w+)`", source)}
    )


def test_every_test_that_is_named_exists():
    missing = {f"{stem}::{test}" for stem, test in named_tests() if test not in defined_in(stem)}

    assert missing == set()


@pytest.mark.parametrize("stem", ALL_ABOUT_THE_KUBELET)
def test_every_test_about_the_kubelet_is_named(stem):
    assert defined_in(stem) == {test for of, test in named_tests() if of == stem}


def test_every_fact_has_its_source_and_a_test_or_says_that_it_has_none():
    bare = [
        fact
        for fact, source, shown in rows()
        if not re.search(r"`\S+\.go: \w+`", source)
        or not (named_tests(shown) or shown == "source alone")
    ]

    assert bare == []
    assert len(list(rows())) > 40


def kubernetes():
    """The version the bench pins, and its sources where a build of the bench left them."""
    pins = (ROOT / "tests/cluster/go.mod").read_text()
    version = re.search(r"^\tk8s\.io/kubernetes (v\S+)", pins, re.MULTILINE)[1]
    modules = os.environ.get("GOMODCACHE") or Path.home() / "go/pkg/mod"
    return version, Path(modules) / f"k8s.io/kubernetes@{version}"


def test_the_sources_are_of_the_release_that_is_tested():
    version, _ = kubernetes()

    assert f"Kubernetes {version}." in PAGE


def test_the_sources_are_where_the_page_says():
    _, folder = kubernetes()
    if not folder.is_dir():
        pytest.skip(f"Kubernetes' sources are not on this machine: {folder}")
    wrong = [
        f"{file}: {function}"
        for file, function in sources()
        if not (path := folder / "pkg/kubelet" / file).exists()
        or not re.search(rf"^func (\(.*\) )?{function}\(", path.read_text(), re.MULTILINE)
    ]

    assert wrong == []
