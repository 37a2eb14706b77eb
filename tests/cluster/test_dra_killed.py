"""An agent that is killed while it prepares a claim or gives it back, on a real node."""

import os
import shutil
from pathlib import Path

import pytest
from test_dra import claims
from test_dra_devices import MIG, instances, profile, whole_afterwards, with_dra
from test_dra_life import left_over, wait_nothing_left
from testbed import versions, waiting

__all__ = ["claims", "whole_afterwards"]  # fixtures

# A kubelet tries a claim again a minute and a half after an answer that it did not get.
PATIENCE_S = 150
# Written down, a journal opened, MIG mode, the instance, the journal closed, the specification, ...
ALL = {"prepare": range(1, 13), "unprepare": range(1, 10)}
SOME = {"prepare": (5,), "unprepare": (2,)}
POINTS = ALL if os.environ.get("PLUMBLINE_KILL_POINTS") == "all" else SOME


@pytest.fixture(scope="module")
def dying(tmp_path_factory):
    """An agent that ends where it is told to."""
    folder = versions.make(tmp_path_factory.mktemp("dying"), "9.8.6")
    here = Path(__file__).parent
    for program in (here / "dying_agent.py", here.parent / "support/dying.py"):
        shutil.copy(program, folder)
    with (folder / "agent/cli/main.py").open("a") as program:
        program.write("\n\nimport dying_agent\n")
    return folder


def wait_killed(cluster, otherwise):
    """Wait until the agent has ended, or there were fewer steps than that; return which."""
    process = cluster.agent.process
    waiting.poll(
        lambda: not process.running or otherwise(),
        what=lambda: cluster.explain("the agent neither ended nor did its work"),
        timeout_s=PATIENCE_S,
    )
    return not process.running


def succeed(cluster, claims):
    """Have an ordinary agent take over."""
    cluster.agent.end()
    claims.start({"mig": "dynamic"})


def begin(cluster, claims, dying, point):
    cluster.agent.end()
    claims.start({"mig": "dynamic"}, source=dying, env={"PLUMBLINE_DIE_AT": point})
    claims.claim("small", deviceClassName=MIG, selectors=profile("3g.40gb"))
    return claims.pod("user", "small")


def is_running(pod):
    return pod.status.phase == "Running"


@pytest.mark.timeout(60 + PATIENCE_S)
@with_dra(mig="dynamic")
@pytest.mark.parametrize("number", POINTS["prepare"])
def test_killed_while_preparing(cluster, whole_afterwards, claims, dying, number):
    pod = begin(cluster, claims, dying, f"prepare:{number}")
    killed = wait_killed(cluster, lambda: is_running(pod))
    succeed(cluster, claims)

    pod.wait_running(timeout_s=PATIENCE_S)
    (shapes,) = instances(cluster).values()
    assert shapes == ["3g.40gb"]
    assert len(pod.inside().gpus) == 1
    assert len(left_over(cluster)) == 3
    assert killed or number not in SOME["prepare"]
    pod.delete()
    wait_nothing_left(cluster)
    assert instances(cluster) == {}


@pytest.mark.timeout(60 + PATIENCE_S)
@with_dra(mig="dynamic")
@pytest.mark.parametrize("number", POINTS["unprepare"])
def test_killed_while_giving_back(cluster, whole_afterwards, claims, dying, number):
    pod = begin(cluster, claims, dying, f"unprepare:{number}").wait_running(timeout_s=PATIENCE_S)
    cluster.core.delete_namespaced_pod(pod.name, "default", grace_period_seconds=1)
    killed = wait_killed(cluster, lambda: not left_over(cluster))
    succeed(cluster, claims)

    assert killed or number not in SOME["unprepare"]
    wait_nothing_left(cluster)
    assert instances(cluster) == {}
    cluster.wait_no_pods(names={pod.name})
