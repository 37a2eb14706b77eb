"""One real node for all tests of this folder; each finds it empty and healthy."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from testbed import components, prerequisites
from testbed.cluster import booted

HERE = Path(__file__).parent
KUBERNETES = os.environ.get("PLUMBLINE_KUBERNETES", components.DEFAULT_KUBERNETES)
TIMEOUT_S = 240
# What tests need, and is off by default before that. DRADeviceTaints needs more there: a scheduler
# with it waits for an alpha API to be served.
ON_FROM_1_36 = (
    "DRAConsumableCapacity",
    "DRAPartitionableDevices",
    "ResourceHealthStatus",
)

_TIMINGS = pytest.StashKey()
_FIGURES = pytest.StashKey()


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def built():
    if missing := prerequisites.missing():
        pytest.skip("this machine lacks " + "; ".join(missing))
    try:
        return components.find(KUBERNETES)
    except components.ComponentsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def node(built):
    """The booted node, whatever state tests have left it in; for fixtures."""
    gates = dict.fromkeys(ON_FROM_1_36, True) if built.minor < 36 else {}
    began = time.monotonic()
    with booted(built, feature_gates=gates) as cluster:
        cluster.figures[f"boot of the node to Ready, {built.kubernetes}"] = time.monotonic() - began
        yield cluster


@pytest.fixture
def empty_node(node, request):
    """The node without pod and agent, on a whole machine; its kubelet is configured somehow."""
    yield node
    node.clean()
    request.config.stash.setdefault(_TIMINGS, []).extend(
        (request.node.name, timing) for timing in node.timings
    )
    node.timings.clear()
    request.config.stash.setdefault(_FIGURES, []).extend(node.figures.items())
    node.figures.clear()


@pytest.fixture
def cluster(empty_node):
    """The empty node with the bench's own configuration."""
    empty_node.configure_kubelet()
    return empty_node


def pytest_terminal_summary(terminalreporter, config):
    if figures := config.stash.get(_FIGURES, []):
        terminalreporter.section("measured")
        for what, seconds in figures:
            terminalreporter.write_line(f"{seconds:7.3f} s  {what}")
    if not (timings := config.stash.get(_TIMINGS, [])):
        return
    terminalreporter.section("pod created to running")
    terminalreporter.write_line(f"{'with':>9} {'without the agent calls':>24}  test: pod")
    for test, timing in timings:
        without_s = timing.total_s - timing.agent_s
        line = f"{timing.total_s:7.3f} s {without_s:22.3f} s  {test}: {timing.pod}"
        terminalreporter.write_line(line)
