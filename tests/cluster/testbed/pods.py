"""Handles on pods, and a look inside their running containers."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import images, waiting
from testbed.lists import parse_list

if TYPE_CHECKING:
    from testbed.cluster import Cluster

GPU = "nvidia.com/gpu"
NAMESPACE = "default"


def container(
    name: str = "main",
    *,
    gpus: int = 0,
    cpus: int | None = None,
    resources: Mapping[str, int] | None = None,
    command: Sequence[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a container's manifest; with ``cpus`` it may have CPUs of its own."""
    limits: dict[str, Any] = {**(resources or {})}
    if gpus:
        limits[GPU] = gpus
    if cpus is not None:
        limits |= {"cpu": cpus, "memory": "32Mi"}
    made = {
        "name": name,
        "image": images.SHELL,
        "imagePullPolicy": "Never",
        "resources": {"limits": limits},
        **more,
    }
    if command is not None:
        made["command"] = list(command)
    return made


def manifest(
    name: str,
    *containers: dict[str, Any],
    init: Sequence[dict[str, Any]] = (),
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a pod's manifest."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": dict(annotations or {})},
        "spec": {
            "containers": list(containers),
            "initContainers": list(init),
            "hostNetwork": True,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 2,
            "automountServiceAccountToken": False,
            **spec,
        },
    }


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node in a container."""

    kind: str
    major: int
    minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a running container is and has."""

    first_process: tuple[int, int]
    """Its PID and when it was started, in the clock ticks of proc_pid_stat(5)."""
    env: dict[str, str]
    devices: dict[str, DeviceNode]


class Inside:
    """One running container, seen from the node: no part of Kubernetes is asked.

    Works while the API server, the kubelet or containerd is down.
    """

    def __init__(self, cluster: Cluster, id_: str) -> None:
        """Find its first process through the files that containerd's shim keeps."""
        self._cluster = cluster
        self.id = id_
        self.bundle = cluster.bundle(id_)
        self.pid = int((self.bundle / "init.pid").read_text())
        self._proc = cluster.world.root / "proc" / str(self.pid)
        self._wait_executed()

    @property
    def running(self) -> bool:
        """Return whether its first process is the one that it was."""
        return (self._proc / "environ").exists()

    @property
    def sight(self) -> Sight:
        """Return what must not change while it runs."""
        return Sight(first_process=(self.pid, self._started), env=self.env, devices=self.devices)

    @property
    def env(self) -> dict[str, str]:
        """Return its environment."""
        pairs = (self._proc / "environ").read_bytes().decode().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if pair)

    @property
    def devices(self) -> dict[str, DeviceNode]:
        """Return every device node below /dev by path."""
        root = self._proc / "root"
        found = {}
        for folder, folders, files in os.walk(root / "dev"):
            folders[:] = [f for f in folders if f not in ("pts", "shm", "mqueue")]
            for name in files:
                path = Path(folder, name)
                status = path.lstat()
                if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                    kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
                    node = DeviceNode(kind, os.major(status.st_rdev), os.minor(status.st_rdev))
                    found[f"/{path.relative_to(root)}"] = node
        return found

    @property
    def nvidia_devices(self) -> set[str]:
        """Return the device nodes of the GPU driver."""
        return {path for path in self.devices if path.startswith("/dev/nvidia")}

    @property
    def gpus(self) -> set[str]:
        """Return the device nodes of GPUs, without those that control the driver."""
        return {path for path in self.nvidia_devices if path[len("/dev/nvidia") :].isdigit()}

    @property
    def mounts(self) -> set[str]:
        """Return its mount points."""
        lines = (self._proc / "mountinfo").read_text().splitlines()
        return {line.split()[4] for line in lines}

    def read(self, path: str) -> str:
        """Return what a file holds for the container."""
        return (self._proc / "root" / path.lstrip("/")).read_text()

    @property
    def allowed_devices(self) -> set[str]:
        """Return what its runtime was told to allow, as ``c 195:0 rw``."""
        rules = self.spec["linux"]["resources"]["devices"]
        return {
            f"{r['type']} {r['major']}:{r['minor']} {r['access']}"
            for r in rules
            if r["allow"] and r.get("minor", -1) >= 0 and r.get("major", -1) >= 0
        }

    @property
    def spec(self) -> dict[str, Any]:
        """Return the OCI configuration it was made from."""
        return json.loads((self.bundle / "config.json").read_text())

    def _wait_executed(self) -> None:
        # runc calls a container running a moment before its own process there becomes the
        # program's: until then environment and mounts are runc's.
        deadline = time.monotonic() + 10
        while (self._proc / "comm").read_text().startswith("runc:"):
            assert time.monotonic() < deadline, f"container {self.id} does not begin"
            time.sleep(0.002)

    @property
    def _started(self) -> int:
        # proc_pid_stat(5): field 22, counted after the name, which may hold spaces.
        return int((self._proc / "stat").read_text().rpartition(")")[2].split()[19])

    @property
    def cpus(self) -> set[int]:
        """Return the CPUs that its runtime was last told to confine it to."""
        return parse_list((self._cluster.node_side.cpusets / self.id).read_text())


class Pod:
    """A pod that was created."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        """Start with what the API server answered at creation."""
        self._cluster = cluster
        self.name = name
        self.created = time.monotonic()
        self.log_mark = cluster.agent.mark()

    # States

    def wait(self, condition: Any, *, timeout_s: float = 30, why: str = "") -> Any:
        """Wait until the pod fulfils a condition; return the object."""
        return waiting.until(
            self._cluster.core.list_namespaced_pod,
            lambda pod: pod is not None and condition(pod),
            timeout_s=timeout_s,
            what=lambda pod: self._cluster.explain(
                f"pod {self.name} is not {why or 'as wanted'}: {describe(pod)}"
            ),
            namespace=NAMESPACE,
            field_selector=f"metadata.name={self.name}",
        )

    def wait_running(self, *, timeout_s: float = 30) -> Pod:
        """Wait until every container runs; an end in failure is told at once."""

        def settled(pod: Any) -> bool:
            return pod.status.phase in ("Failed", "Succeeded") or all_running(pod)

        pod = self.wait(settled, timeout_s=timeout_s, why="running")
        if not all_running(pod):
            raise AssertionError(
                self._cluster.explain(f"pod {self.name} did not run: {describe(pod)}")
            )
        self._cluster.timed(self, time.monotonic() - self.created)
        return self

    def wait_admitted(self, *, timeout_s: float = 30) -> Any:
        """Wait until every container runs or the pod failed; return the object."""
        return self.wait(
            lambda pod: pod.status.phase == "Failed" or all_running(pod),
            timeout_s=timeout_s,
            why="running or failed",
        )

    def wait_rejected(self, *, timeout_s: float = 30) -> str:
        """Wait until the kubelet rejected the pod; return the reason it gives."""
        pod = self.wait(
            lambda pod: pod.status.phase == "Failed" or all_running(pod),
            timeout_s=timeout_s,
            why="rejected",
        )
        assert pod.status.phase == "Failed", f"pod {self.name} runs: {self.held()}"
        return str(pod.status.reason)

    def wait_done(self, *, timeout_s: float = 30) -> Pod:
        """Wait until the pod succeeded."""
        self.wait(lambda pod: pod.status.phase == "Succeeded", timeout_s=timeout_s, why="done")
        return self

    def wait_unschedulable(self, *, timeout_s: float = 30) -> str:
        """Wait until the scheduler said that it finds no node; return why."""

        def refused(pod: Any) -> bool:
            return any(c.reason == "Unschedulable" for c in pod.status.conditions or ())

        pod = self.wait(refused, timeout_s=timeout_s, why="unschedulable")
        return next(c.message for c in pod.status.conditions if c.reason == "Unschedulable")

    @property
    def status(self) -> Any:
        """Return its status now."""
        return self._cluster.core.read_namespaced_pod(self.name, NAMESPACE).status

    def delete(self, *, wait: bool = True, timeout_s: float = 30) -> None:
        """Delete the pod; with ``wait``, until it is gone."""
        self._cluster.core.delete_namespaced_pod(self.name, NAMESPACE)
        if wait:
            self.wait_gone(timeout_s=timeout_s)

    def wait_gone(self, *, timeout_s: float = 30) -> None:
        """Wait until the API server no longer has it."""
        self._cluster.wait_no_pods(names={self.name}, timeout_s=timeout_s)

    # Contents

    def inside(self, name: str | None = None) -> Inside:
        """Return a look inside a container; without a name, the first."""
        statuses = self.status.container_statuses
        found = next(s for s in statuses if name in (None, s.name))
        return Inside(self._cluster, found.container_id.removeprefix("containerd://"))

    @property
    def env(self) -> dict[str, str]:
        """Return the environment of its first container."""
        return self.inside().env

    @property
    def devices(self) -> dict[str, DeviceNode]:
        """Return the device nodes of its first container."""
        return self.inside().devices

    def held(self, container: str = "main", resource: str = GPU) -> list[str]:
        """Return the devices that the kubelet says a container holds."""
        return self._cluster.node.held(self.name, container, resource)

    def log(self, container: str | None = None) -> str:
        """Return what a container printed."""
        options = {"container": container} if container else {}
        return self._cluster.core.read_namespaced_pod_log(self.name, NAMESPACE, **options)


def all_running(pod: Any) -> bool:
    """Return whether every container of a pod object runs."""
    statuses = pod.status.container_statuses or ()
    return len(statuses) == len(pod.spec.containers) and all(s.state.running for s in statuses)


def describe(pod: Any) -> str:
    """Return a pod's state in a line."""
    if pod is None:
        return "there is no such pod"
    parts = [f"phase {pod.status.phase}", pod.status.reason or "", pod.status.message or ""]
    for each in pod.status.container_statuses or ():
        state = each.state.waiting or each.state.terminated
        if state is not None:
            parts.append(f"container {each.name}: {state.reason} {state.message or ''}")
    parts += [c.message for c in pod.status.conditions or () if c.message]
    return "; ".join(part for part in parts if part)
