"""An agent or a kubelet that is killed or ended while a claim is prepared or given back, on a real
node.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest
from dying import GO_ON, HALTED
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
EVERYTHING = os.environ.get("PLUMBLINE_KILL_POINTS") == "all"
POINTS = ALL if EVERYTHING else SOME


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


def end_kubelet(cluster, how):
    """End the kubelet and start it again; returns when it has taken the agent's driver again."""
    mark = cluster.agent.mark()
    cluster.restart("kubelet", how)
    cluster.agent.wait_event("dra_registered", since=mark)


def end_agent(cluster, how):
    cluster.agent.process.send(how)


ENDED = {
    "kubelet-killed": (end_kubelet, signal.SIGKILL),
    "kubelet-ended": (end_kubelet, signal.SIGTERM),
    "agent-ended": (end_agent, signal.SIGTERM),
}
# A kubelet that starts comes back to a pod that is to end a minute and a half later.
WHO = {"prepare": ["kubelet-killed", "agent-ended"], "unprepare": ["kubelet-killed"]}
if EVERYTHING:
    WHO = {act: list(ENDED) for act in WHO}


class Halted:
    """An agent that halts at a step, of which somebody ends while it does."""

    def __init__(self, cluster, folder):
        self._cluster = cluster
        self._folder = folder

    def at(self, point):
        return {"PLUMBLINE_HALT_AT": point, "PLUMBLINE_HALT_IN": str(self._folder)}

    def wait(self, otherwise):
        """Wait until the agent has halted, or there were fewer steps than that; return which."""
        halted = self._folder / HALTED
        waiting.poll(
            lambda: halted.exists() or otherwise(),
            what=lambda: self._cluster.explain("the agent neither halted nor did its work"),
            timeout_s=PATIENCE_S,
        )
        return halted.exists()

    def end(self, who):
        """End the kubelet or the agent; the step goes on while the one or the other is away."""
        end, how = ENDED[who]
        end(self._cluster, how)
        (self._folder / GO_ON).touch()


@pytest.fixture
def halted(cluster, claims, tmp_path):
    yield Halted(cluster, tmp_path)
    (tmp_path / GO_ON).touch()
    succeed(cluster, claims)


def begin(cluster, claims, dying, env):
    cluster.agent.end()
    claims.start({"mig": "dynamic"}, source=dying, env=env)
    claims.claim("small", deviceClassName=MIG, selectors=profile("3g.40gb"))
    return claims.pod("user", "small")


def use_and_delete(cluster, pod):
    """See that a pod gets the one instance that was made for it, and that all goes with it."""
    pod.wait_running(timeout_s=PATIENCE_S)
    (shapes,) = instances(cluster).values()
    assert shapes == ["3g.40gb"]
    assert len(pod.inside().gpus) == 1
    assert len(left_over(cluster)) == 3
    pod.delete()
    wait_nothing_left(cluster)
    assert instances(cluster) == {}


def is_running(pod):
    return pod.status.phase == "Running"


@pytest.mark.timeout(60 + PATIENCE_S)
@with_dra(mig="dynamic")
@pytest.mark.parametrize("number", POINTS["prepare"])
def test_killed_while_preparing(cluster, whole_afterwards, claims, dying, number):
    pod = begin(cluster, claims, dying, {"PLUMBLINE_DIE_AT": f"prepare:{number}"})
    killed = wait_killed(cluster, lambda: is_running(pod))
    succeed(cluster, claims)

    use_and_delete(cluster, pod)
    assert killed or number not in SOME["prepare"]


@pytest.mark.timeout(60 + PATIENCE_S)
@with_dra(mig="dynamic")
@pytest.mark.parametrize("number", POINTS["unprepare"])
def test_killed_while_giving_back(cluster, whole_afterwards, claims, dying, number):
    pod = begin(cluster, claims, dying, {"PLUMBLINE_DIE_AT": f"unprepare:{number}"})
    pod.wait_running(timeout_s=PATIENCE_S)
    cluster.core.delete_namespaced_pod(pod.name, "default", grace_period_seconds=1)
    killed = wait_killed(cluster, lambda: not left_over(cluster))
    succeed(cluster, claims)

    assert killed or number not in SOME["unprepare"]
    wait_nothing_left(cluster)
    assert instances(cluster) == {}
    cluster.wait_no_pods(names={pod.name})


@pytest.mark.timeout(60 + PATIENCE_S)
@with_dra(mig="dynamic")
@pytest.mark.parametrize("who", WHO["prepare"])
@pytest.mark.parametrize("number", POINTS["prepare"])
def test_ended_around_a_step_of_preparing(
    cluster, whole_afterwards, claims, halted, dying, number, who
):
    pod = begin(cluster, claims, dying, halted.at(f"prepare:{number}"))
    has_halted = halted.wait(lambda: is_running(pod))
    halted.end(who)
    if who == "agent-ended":
        succeed(cluster, claims)

    use_and_delete(cluster, pod)
    assert has_halted or number not in SOME["prepare"]


@pytest.mark.timeout(60 + PATIENCE_S)
@with_dra(mig="dynamic")
@pytest.mark.parametrize("who", WHO["unprepare"])
@pytest.mark.parametrize("number", POINTS["unprepare"])
def test_ended_around_a_step_of_giving_back(
    cluster, whole_afterwards, claims, halted, dying, number, who
):
    pod = begin(cluster, claims, dying, halted.at(f"unprepare:{number}"))
    pod.wait_running(timeout_s=PATIENCE_S)
    cluster.core.delete_namespaced_pod(pod.name, "default", grace_period_seconds=1)
    has_halted = halted.wait(lambda: not left_over(cluster))
    halted.end(who)
    if who == "agent-ended":
        succeed(cluster, claims)

    assert has_halted or number not in SOME["unprepare"]
    wait_nothing_left(cluster)
    assert instances(cluster) == {}
    cluster.wait_no_pods(names={pod.name})
