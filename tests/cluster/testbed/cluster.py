"""The whole node: boots it, ends it, and is what tests speak to."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, dynamic

from deviceplugin.files import identify_socket
from testbed import cgroups, pods, waiting
from testbed.agent import Agent
from testbed.components import Components
from testbed.controlplane import Command, ControlPlane
from testbed.machine import SimulatedMachine
from testbed.node import NodeSide
from testbed.node_view import NodeView
from testbed.pods import Pod
from testbed.process import ComponentFailed, Process, last_lines
from testbed.world import World

PREFIX = "plumbline-node-"
_MEMORY = Path("/dev/shm")
_ENOUGH_MEMORY = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a pod took from its creation to running containers."""

    pod: str
    total_s: float
    agent_s: float
    """Of that, in the agent's answers to the kubelet."""


class Cluster:
    """One node with everything it takes.

    ``machine`` is the simulated machine below it, ``agent`` the agent on it, ``node`` and
    ``core`` what Kubernetes knows. ``node_side``, ``plane`` and ``world`` are for tests that
    must look deeper.
    """

    def __init__(
        self,
        components: Components,
        folder: Path,
        *,
        profile: str,
        feature_gates: Mapping[str, bool],
    ) -> None:
        """Lay out the files; nothing runs yet."""
        self.components = components
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.machine = SimulatedMachine(folder / "machine", profile)
        self.plane = ControlPlane(folder, components, feature_gates=feature_gates)
        self.node_side = NodeSide(
            folder, components, self.plane, machine=self.machine.folder, gates=feature_gates
        )
        self.timings: list[Timing] = []
        self.figures: dict[str, float] = {}
        self._kubelet_changes: dict[str, Any] = {}
        self._processes: dict[str, Process] = {}
        self._commands = {**self.plane.commands(), "containerd": self.node_side.containerd()}
        cgroups.make(self.node_side.cgroup.strip("/"))
        self.world = World(self.node_side.mounts())
        self.agent = Agent(self.world, self.logs, self.machine.folder)
        self.node = NodeView(self)

    # Boot and end

    def boot(self) -> None:
        """Start everything; returns when the node is Ready and takes pods."""
        for name in ("etcd", "containerd", "kube-apiserver"):
            self._launch(name)
        with ThreadPoolExecutor() as pool:
            importing = pool.submit(self._import_images)
            self._wait_ready("kube-apiserver")
            self._connect()
            for name in ("kube-controller-manager", "kube-scheduler", "kubelet"):
                self._launch(name)
            importing.result()
        self.node.wait_ready()
        self._wait_service_account()

    def end(self) -> None:
        """End everything and remove what it left on the machine."""
        self.world.end()
        for process in (self.agent.process, *self._processes.values()):
            if process is not None:
                process.wait(20)
        cgroups.remove(self.node_side.cgroup.strip("/"))
        shutil.rmtree(self.folder)

    def clean(self) -> None:
        """Bring the node back to how it was booted: no pod, no agent, a whole machine."""
        for name in ("etcd", "containerd", "kube-apiserver", *self._processes):
            if name not in self._processes or not self._processes[name].running:
                self._processes.pop(name, None)
                self.start(name)
        # A kubelet makes it when it starts, and never again.
        if not (self.node_side.plugin_dir / "kubelet.sock").is_socket():
            self.restart("kubelet")
        self.delete_pods()
        self.agent.end()
        # The next agent's devices are to be told from this one's.
        self.node.wait(no_devices, why="an agent that is gone leaves devices", timeout_s=20)
        self.machine.mend()
        self.machine.forget_xids()

    def serve(self, *flags: str, offers: Mapping[str, int] | None = None, **options: Any) -> None:
        """Start the agent; returns when the node has what it offers, by default eight GPUs."""
        self.agent.start(*flags, **options)
        for resource, count in (offers or {pods.GPU: 8}).items():
            self.node.wait_allocatable(resource, count)

    # Components

    def start(self, name: str) -> None:
        """Start a component that was stopped; returns when it serves, the kubelet plugins too."""
        before = identify_socket(self.node_side.registration)
        self._launch(name)
        self._wait_ready(name)
        if name == "kubelet":
            waiting.poll(
                lambda: identify_socket(self.node_side.registration) not in (before, None),
                what=lambda: self.explain("the kubelet takes no registrations", "kubelet"),
            )

    def stop(self, name: str, signal_: signal.Signals = signal.SIGTERM) -> None:
        """Stop a component."""
        self._processes.pop(name).end(signal_)

    def restart(self, name: str, signal_: signal.Signals = signal.SIGTERM) -> None:
        """Stop a component and start it again; returns when it serves."""
        if name == "agent":
            self.agent.restart(signal_)
            return
        self.stop(name, signal_)
        self.start(name)

    def configure_kubelet(self, *, forget: bool = True, **changes: Any) -> None:
        """Restart the kubelet with these changes to the bench's own configuration.

        With ``forget``, it begins without what it remembers of CPUs, memory and devices: a
        kubelet refuses to start when a policy differs from the remembered one. The node's
        status forgets devices too; a kubelet would take what it says for true.
        """
        if changes == self._kubelet_changes:
            return
        self.stop("kubelet")
        self._kubelet_changes = dict(changes)
        if forget:
            self.node_side.forget()
            self.node.forget()
        self.start("kubelet")

    def process(self, name: str) -> Process:
        """Return a running component."""
        return self._processes[name]

    # Objects

    def apply(self, manifest: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Any]:
        """Apply YAML, one object or several, by server-side apply; return what became of them."""
        if isinstance(manifest, str):
            objects = [each for each in yaml.safe_load_all(manifest) if each]
        else:
            objects = [manifest] if isinstance(manifest, Mapping) else list(manifest)
        applied = []
        for each in objects:
            kind = self.dynamic.resources.get(api_version=each["apiVersion"], kind=each["kind"])
            where = {"namespace": each["metadata"].get("namespace", "default")}
            applied.append(
                self.dynamic.server_side_apply(
                    kind,
                    body=each,
                    name=each["metadata"]["name"],
                    field_manager="plumbline-test",
                    **(where if kind.namespaced else {}),
                )
            )
        return applied

    def delete(self, *objects: Any) -> None:
        """Delete what ``apply`` returned, and with it what controllers made of it."""
        for each in objects:
            kind = self.dynamic.resources.get(api_version=each.apiVersion, kind=each.kind)
            where = {"namespace": each.metadata.namespace} if kind.namespaced else {}
            self.dynamic.delete(kind, name=each.metadata.name, **where)

    def pod(
        self,
        name: str,
        *containers: dict[str, Any],
        gpus: int = 0,
        cpus: int | None = None,
        resources: Mapping[str, int] | None = None,
        **spec: Any,
    ) -> Pod:
        """Create a pod: of these containers, or of one that asks for these resources."""
        made = containers or (pods.container(gpus=gpus, cpus=cpus, resources=resources),)
        pod = Pod(self, name)
        kind = self.dynamic.resources.get(api_version="v1", kind="Pod")
        self.dynamic.create(kind, pods.manifest(name, *made, **spec), namespace=pods.NAMESPACE)
        return pod

    def pods(self) -> list[Any]:
        """Return the pods there are, as objects of the API server."""
        return list(self.core.list_namespaced_pod(pods.NAMESPACE).items)

    def delete_pods(self) -> None:
        """Delete every pod at once; returns when all are gone."""
        self.core.delete_collection_namespaced_pod(pods.NAMESPACE, grace_period_seconds=0)
        self.wait_no_pods()

    def wait_no_pods(self, *, names: set[str] | None = None, timeout_s: float = 40) -> None:
        """Wait until none of the named pods, or none at all, is left."""
        deadline = time.monotonic() + timeout_s
        while found := {p.metadata.name for p in self.pods()} & (names or {*self._names()}):
            if time.monotonic() > deadline:
                raise waiting.TimedOut(self.explain(f"pods do not go: {sorted(found)}"))
            time.sleep(0.05)

    def bundle(self, container_id: str) -> Path:
        """Return the folder that containerd keeps of a running container."""
        tasks = self.folder / "containerd/state/io.containerd.runtime.v2.task/k8s.io"
        return tasks / container_id

    # Words

    def explain(self, what: str, *components: str) -> str:
        """Return a message that ends with the last lines of the components that matter."""
        chosen = components or ("kubelet", "agent")
        logs = [last_lines(self.logs / f"{name}.log") for name in chosen]
        dead = [name for name, process in self._processes.items() if not process.running]
        notes = [f"not running any more: {', '.join(dead)}"] if dead else []
        return "\n".join([what, *notes, *logs])

    def timed(self, pod: Pod, total_s: float) -> None:
        """Note how long a pod took."""
        calls = self.agent.calls(since=pod.log_mark)
        agent_s = sum(
            float(call["duration_ms"]) / 1000
            for call in calls
            if call["method"] in ("GetPreferredAllocation", "Allocate")
        )
        self.timings.append(Timing(pod=pod.name, total_s=total_s, agent_s=agent_s))

    @contextlib.contextmanager
    def measured(self, what: str) -> Iterator[None]:
        """Note how long a block took, in seconds, for the report after the tests."""
        began = time.monotonic()
        yield
        self.figures[what] = time.monotonic() - began

    # Inside

    def _names(self) -> list[str]:
        return [pod.metadata.name for pod in self.pods()]

    def _launch(self, name: str) -> None:
        command = self._command(name)
        log = self.logs / f"{name}.log"
        self._processes[name] = self.world.start(name, command.argv, log=log)

    def _command(self, name: str) -> Command:
        if name == "kubelet":
            return self.node_side.kubelet(self._kubelet_changes)
        return self._commands[name]

    def _wait_ready(self, name: str) -> None:
        self.plane.wait_ready(self._processes[name], self._command(name))

    def _connect(self) -> None:
        api = config.new_client_from_config(str(self.plane.admin))
        self.core = client.CoreV1Api(api)
        self.dynamic = dynamic.DynamicClient(api, cache_file=str(self.folder / "discovery.json"))

    def _import_images(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.world.run(*self.node_side.import_images())
            except RuntimeError as error:
                if time.monotonic() > deadline:
                    raise ComponentFailed(self.explain(str(error), "containerd")) from error
                time.sleep(0.1)
            else:
                return

    def _wait_service_account(self) -> None:
        """Wait for the account without which no pod is admitted to a namespace."""
        waiting.until(
            self.core.list_namespaced_service_account,
            lambda account: account is not None,
            timeout_s=30,
            what=lambda _: self.explain("no service account", "kube-controller-manager"),
            namespace=pods.NAMESPACE,
            field_selector="metadata.name=default",
        )


def no_devices(node: Any) -> bool:
    """Return whether a node has nothing that an agent would offer."""
    allocatable = node.status.allocatable or {}
    return all(int(n) == 0 for name, n in allocatable.items() if name.startswith("nvidia.com/"))


@contextlib.contextmanager
def booted(
    components: Components,
    *,
    profile: str = "dgx-h100",
    feature_gates: Mapping[str, bool] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Cluster]:
    """Yield a booted node; nothing of it is left afterwards."""
    sweep()
    parent = _MEMORY if _room(_MEMORY) > _ENOUGH_MEMORY else None
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    began = time.monotonic()
    cluster = Cluster(components, folder, profile=profile, feature_gates=feature_gates or {})
    try:
        cluster.boot()
        tell(f"node Ready after {time.monotonic() - began:.1f} s")
        yield cluster
    finally:
        cluster.end()


def sweep() -> None:
    """Remove what killed runs left: their processes and mounts went with them."""
    for parent in {Path(tempfile.gettempdir()), _MEMORY}:
        for folder in parent.glob(f"{PREFIX}*-*"):
            pid = folder.name.removeprefix(PREFIX).partition("-")[0]
            if not Path(f"/proc/{pid}").exists():
                with contextlib.suppress(OSError):
                    cgroups.remove(folder.name)
                shutil.rmtree(folder, ignore_errors=True)


def _room(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
