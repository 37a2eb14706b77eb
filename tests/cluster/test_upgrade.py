"""Another version of the agent takes over, with pods running."""

import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from testbed import versions
from testbed.capacity import check_back
from testbed.pods import GPU
from testbed.replicas import replicas
from testbed.tenants import Tenants, check_none_is_given_twice

CDI = "--device-list-strategy=cdi-cri"
NEWER = "9.8.7"
SPEC = "var/run/cdi/k8s.device-plugin.nvidia.com-gpu.json"


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    return versions.make(tmp_path_factory.mktemp("newer"), NEWER)


def serves(process, source):
    """Return whether a process runs a version's code, by the library it has loaded."""
    return f"{source}/" in Path(f"/proc/{process.pid}/maps").read_text()


def device_names(cluster):
    document = json.loads((cluster.machine.folder / SPEC).read_text())
    return {device["name"] for device in document["devices"]}


def restart_container(cluster, pod):
    """End a container's process; return what is seen in its successor."""
    before = pod.inside()
    cluster.world.run("kill", "-9", str(before.pid))
    pod.wait(
        lambda now: any(
            c.state.running and not c.container_id.endswith(before.id)
            for c in now.status.container_statuses
        ),
        why="restarted",
    )
    return pod.inside()


def test_a_newer_version_takes_over_when_the_older_has_ended(cluster, newer):
    cluster.serve(config="version: v1\nflags: {plugin: {deviceListStrategy: cdi-cri}}\n")
    tenants = Tenants(cluster, 3, 2)
    old = cluster.pod("old", gpus=1, restartPolicy="Always").wait_running()
    before, held, named = old.inside().sight, old.held(), device_names(cluster)
    assert cluster.agent.stop() == 0

    mark = cluster.agent.mark()
    config = f"--config-file={cluster.agent.config}"
    check_back(cluster, "a newer version", lambda: cluster.agent.start(config, source=newer))

    assert cluster.agent.wait_event("starting", since=mark)["version"] == NEWER
    assert serves(cluster.agent.process, newer)
    tenants.check()
    assert device_names(cluster) == named
    # The kubelet asks nobody about a container that starts again: its names must resolve.
    after = restart_container(cluster, old).sight
    assert (after.env, after.devices) == (before.env, before.devices)
    assert old.held() == held
    assert len(cluster.pod("new", gpus=2).wait_running().inside().gpus) == 2
    check_none_is_given_twice(cluster)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_newer_version_stands_by_and_takes_over_at_the_end_of_the_older(cluster, newer, end):
    cluster.serve(CDI)
    tenants = Tenants(cluster, 2, 1)
    older = cluster.agent.process
    mark = cluster.agent.mark()
    cluster.agent.start(CDI, source=newer)

    told = cluster.agent.wait_event("standing_by", since=mark)
    assert told["holder"].startswith(f"pid {pid_in_world(older)} on ")
    # The older one serves on as if nothing were.
    assert len(cluster.pod("meanwhile", gpus=1).wait_running().inside().gpus) == 1
    assert cluster.agent.events("registered", since=mark) == []

    with replicas(cluster, "crowd", count=3, gpus=1) as crowd:
        ended = datetime.now(UTC)
        check_back(cluster, f"the older version ended with {end.name}", lambda: older.end(end))
        served = cluster.agent.wait_event("devices_sent", since=mark, healthy=8, total=8)["time"]
        crowd.wait_running()
        check_none_is_given_twice(cluster)
        assert {why.partition(":")[0] for why in crowd.rejected()} <= {"UnexpectedAdmissionError"}

    gap_s = (datetime.fromisoformat(served) - ended).total_seconds()
    cluster.figures[f"{end.name} of the older version to the list of the newer"] = gap_s
    assert serves(cluster.agent.process, newer)
    tenants.check()
    cluster.restart("kubelet")
    cluster.node.wait_allocatable(GPU, 8)
    tenants.check()
    cluster.pod("new", gpus=4).wait_running()
    check_none_is_given_twice(cluster)


def pid_in_world(process):
    """Return a process's id as it knows it itself (proc_pid_status(5), NSpid)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])
