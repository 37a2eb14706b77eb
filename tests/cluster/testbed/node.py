"""containerd and the kubelet: what each is started with, and the mounts they live among."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed import images, ports
from testbed.components import Components
from testbed.controlplane import NODE_NAME, Command, ControlPlane
from testbed.world import Bind, Scratch

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
KUBELET_DIR = "/var/lib/kubelet"
_HERE = Path(__file__).parent

# What the kubelet would set on the whole machine; it leaves alone what has its value already
# (pkg/kubelet/cm, setupKernelTunables).
_TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


class NodeSide:
    """Lays out the files of a node in ``folder`` and says how its two daemons start."""

    def __init__(
        self,
        folder: Path,
        components: Components,
        plane: ControlPlane,
        *,
        machine: Path,
        gates: Mapping[str, bool],
    ) -> None:
        """Write what does not change."""
        self.folder = folder
        self.kubelet_dir = folder / "kubelet"
        self.plugin_dir = self.kubelet_dir / "device-plugins"
        self.registration = self.plugin_dir / "kubelet.sock"
        self.cpusets = folder / "cpusets"
        self.cgroup = f"/{folder.name}"
        self._programs = components
        self._plane = plane
        self._machine = machine
        self._gates = dict(gates)
        self._port, self._health = ports.free(2)
        for name in ("kubelet", "cni", "cpusets", "containerd", "tunables"):
            (folder / name).mkdir()
        (folder / "cni" / "10-loopback.conf").write_text(
            json.dumps({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"})
        )
        (folder / "resolv.conf").write_text("")
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.0.1 {NODE_NAME}\n")
        self._write_runtime()
        (folder / "containerd.toml").write_text(self._containerd_toml())
        plane.kubeconfig("kubelet", user=f"system:node:{NODE_NAME}", group="system:nodes")
        self._serving = plane.authority.issue("kubelet-serving", NODE_NAME)

    def mounts(self) -> list[Scratch | Bind]:
        """Return what the node's world looks like."""
        folder, sysfs = self.folder, "sys/devices/system"
        mounts: list[Scratch | Bind] = [
            Scratch("/run"),
            Scratch("/var/log"),
            Scratch("/var/lib", keep=True),
            Bind(self.kubelet_dir, KUBELET_DIR),
            Bind(folder / "hosts", "/etc/hosts"),
            Bind(self._machine / "var/run/cdi", "/run/cdi"),
            Bind(self._machine / sysfs / "node", f"/{sysfs}/node"),
            Bind(self._machine / sysfs / "cpu", f"/{sysfs}/cpu"),
        ]
        for name, value in _TUNABLES.items():
            path = Path("/proc/sys") / name
            if path.exists():
                copy = folder / "tunables" / path.name
                copy.write_text(value)
                mounts.append(Bind(copy, str(path)))
        return mounts

    def containerd(self) -> Command:
        """Return how containerd is started."""
        config = self.folder / "containerd.toml"
        return Command(argv=(self._programs["containerd"], f"--config={config}"))

    def kubelet(self, changes: Mapping[str, Any]) -> Command:
        """Write the kubelet's configuration with ``changes`` to ours; return how it is started."""
        path = self.folder / "kubelet.yaml"
        path.write_text(yaml.safe_dump(self._kubelet_config() | dict(changes)))
        return Command(
            argv=(
                self._programs["kubelet"],
                f"--config={path}",
                f"--kubeconfig={self._plane.authority.folder / 'kubelet.kubeconfig'}",
                f"--hostname-override={NODE_NAME}",
                "--v=2",
            ),
            ready=f"http://127.0.0.1:{self._health}/healthz",
        )

    def forget(self) -> None:
        """Remove what the kubelet remembers of CPUs, memory and devices; it must not run."""
        checkpoints = (
            "cpu_manager_state",
            "memory_manager_state",
            "device-plugins/kubelet_internal_checkpoint",
        )
        for name in checkpoints:
            (self.kubelet_dir / name).unlink(missing_ok=True)

    def import_images(self) -> list[str]:
        """Return the command that gives containerd our images."""
        archive = str(images.archive())
        where = (f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io")
        command = ("images", "import", "--local", "--snapshotter=native", archive)
        return [self._programs["ctr"], *where, *command]

    def _kubelet_config(self) -> dict[str, Any]:
        certificate, key = self._serving
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": self._port,
            "readOnlyPort": 0,
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": self._health,
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._plane.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "resolvConf": str(self.folder / "resolv.conf"),
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            # Lowering it takes a capability that a container of ours may not have.
            "oomScoreAdj": 0,
            "makeIPTablesUtilChains": False,
            "registerNode": True,
            # The default of 10 s would be nearly all that a test sees of a change.
            "nodeStatusUpdateFrequency": "1s",
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "featureGates": self._gates,
            # With "none" the kubelet would confine its pods to all CPUs that it sees, which are
            # the simulated machine's and more than the real one may have.
            "cpuManagerPolicy": "static",
            "reservedSystemCPUs": "0",
            "topologyManagerPolicy": "none",
            "topologyManagerScope": "container",
        }

    def _write_runtime(self) -> None:
        program = self.folder / "oci-runtime"
        text = (_HERE / "oci-runtime.in").read_text()
        for name, value in {
            "python": sys.executable,
            "helper": _HERE / "cpusets.py",
            "notes": self.cpusets,
            "runc": self._programs["runc"],
        }.items():
            text = text.replace(f"{{{name}}}", str(value))
        program.write_text(text)
        program.chmod(0o755)
        # containerd looks for CNI plugins by name, and for its shim beside itself.
        shutil.copy(self._programs["loopback"], self.folder / "cni" / "loopback")

    def _containerd_toml(self) -> str:
        folder, runtime = self.folder, "plugins.'io.containerd.cri.v1.runtime'"
        runc = f"{runtime}.containerd.runtimes.runc"
        # CDI is left at its defaults, folders included: that is what nodes run with.
        return f"""version = 3
root = '{folder}/containerd/root'
state = '{folder}/containerd/state'
imports = []

[grpc]
  address = '{CONTAINERD_SOCKET}'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'native'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{images.PAUSE}'

[{runtime}]
  disable_apparmor = true
  restrict_oom_score_adj = true

[{runc}]
  runtime_type = 'io.containerd.runc.v2'
  runtime_path = '{self._programs["containerd-shim-runc-v2"]}'

[{runc}.options]
  BinaryName = '{folder}/oci-runtime'
  Root = '{folder}/runc'

[{runtime}.cni]
  bin_dirs = ['{folder}/cni']
  conf_dir = '{folder}/cni'
"""
