"""etcd, API server, scheduler and controller manager: what each is started with."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed import pki, ports
from testbed.components import Components
from testbed.process import Process

NODE_NAME = "plumbline-node"
_LOCAL = "127.0.0.1"
_READY_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a component is started."""

    argv: tuple[str, ...]
    ready: str | None = None
    """URL that answers 200 once it serves."""


class ControlPlane:
    """Knows the commands and the certificates; starting them is the cluster's business."""

    def __init__(
        self, folder: Path, components: Components, *, feature_gates: Mapping[str, bool]
    ) -> None:
        """Make certificates, choose ports."""
        self._folder = folder
        self._programs = components
        self._gates = ",".join(f"{name}={str(on).lower()}" for name, on in feature_gates.items())
        self.authority = pki.Authority(folder / "pki")
        etcd, peers, self._api, self._schedule, self._control = ports.free(5)
        self._etcd_url, self._peers_url = f"https://{_LOCAL}:{etcd}", f"https://{_LOCAL}:{peers}"
        self.server = f"https://{_LOCAL}:{self._api}"
        self.admin = self.kubeconfig("admin", user="admin", group=pki.ADMINISTRATORS)
        certificate, key = self.authority.issue("probe", user="probe", group=pki.ADMINISTRATORS)
        self._tls = ssl.create_default_context(cafile=str(self.authority.certificate))
        self._tls.load_cert_chain(certificate, key)

    def kubeconfig(self, name: str, *, user: str, group: str | None = None) -> Path:
        """Return a kubeconfig for somebody, with what RBAC gives to user and group."""
        return self.authority.kubeconfig(name, self.server, user=user, group=group)

    def commands(self) -> dict[str, Command]:
        """Return every component's command, in the order in which they start."""
        return {
            "etcd": self._etcd(),
            "kube-apiserver": self._apiserver(),
            "kube-controller-manager": self._controller_manager(),
            "kube-scheduler": self._scheduler(),
        }

    def wait_ready(self, process: Process, command: Command) -> None:
        """Wait until a component serves."""
        if command.ready is None:
            return
        deadline = time.monotonic() + _READY_S
        while not self._answers(command.ready):
            if not process.running:
                raise process.failed(f"ended with {process.exit_code}")
            if time.monotonic() > deadline:
                raise process.failed(f"does not serve {command.ready} after {_READY_S} s")
            time.sleep(0.05)  # nothing announces that a server is ready but its answer

    def _answers(self, url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5, context=self._tls) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _etcd(self) -> Command:
        certificate, key = self.authority.issue("etcd", _LOCAL)
        ca = str(self.authority.certificate)
        argv = [self._programs["etcd"], f"--data-dir={self._folder / 'etcd'}", "--unsafe-no-fsync"]
        argv += ["--name=n", f"--initial-cluster=n={self._peers_url}", "--log-level=warn"]
        argv += [f"--listen-client-urls={self._etcd_url}"]
        argv += [f"--advertise-client-urls={self._etcd_url}"]
        argv += [f"--listen-peer-urls={self._peers_url}"]
        argv += [f"--initial-advertise-peer-urls={self._peers_url}"]
        for prefix in ("", "peer-"):
            argv += [f"--{prefix}cert-file={certificate}", f"--{prefix}key-file={key}"]
            argv += [f"--{prefix}client-cert-auth", f"--{prefix}trusted-ca-file={ca}"]
        return Command(argv=tuple(argv), ready=f"{self._etcd_url}/health")

    def _apiserver(self) -> Command:
        ca, tokens = self.authority.certificate, self.authority.token_key
        serving = self.authority.issue("apiserver", _LOCAL, "localhost")
        to_etcd = self.authority.issue("apiserver-etcd", user="apiserver")
        to_kubelet = self.authority.issue(
            "apiserver-kubelet", user="kube-apiserver", group=pki.ADMINISTRATORS
        )
        flags = {
            "bind-address": _LOCAL,
            "secure-port": self._api,
            "advertise-address": _LOCAL,
            # A service cannot have a loopback address behind it, and nobody needs this one.
            "endpoint-reconciler-type": "none",
            "tls-cert-file": serving[0],
            "tls-private-key-file": serving[1],
            "client-ca-file": ca,
            "etcd-servers": self._etcd_url,
            "etcd-cafile": ca,
            "etcd-certfile": to_etcd[0],
            "etcd-keyfile": to_etcd[1],
            "kubelet-certificate-authority": ca,
            "kubelet-client-certificate": to_kubelet[0],
            "kubelet-client-key": to_kubelet[1],
            "kubelet-preferred-address-types": "Hostname",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "service-cluster-ip-range": "10.96.0.0/24",
            "service-account-issuer": "https://plumbline.test",
            "service-account-key-file": tokens,
            "service-account-signing-key-file": tokens,
            "profiling": "false",
            **self._common(),
        }
        return Command(argv=self._argv("kube-apiserver", flags), ready=f"{self.server}/readyz")

    def _controller_manager(self) -> Command:
        config = self.kubeconfig("controller-manager", user="system:kube-controller-manager")
        serving = self.authority.issue("controller-manager-serving", _LOCAL)
        flags = {
            "kubeconfig": config,
            "bind-address": _LOCAL,
            "secure-port": self._control,
            "tls-cert-file": serving[0],
            "tls-private-key-file": serving[1],
            "root-ca-file": self.authority.certificate,
            "service-account-private-key-file": self.authority.token_key,
            "use-service-account-credentials": "true",
            "leader-elect": "false",
            **self._common(),
        }
        ready = f"https://{_LOCAL}:{self._control}/healthz"
        return Command(argv=self._argv("kube-controller-manager", flags), ready=ready)

    def _scheduler(self) -> Command:
        config = self.kubeconfig("scheduler", user="system:kube-scheduler")
        serving = self.authority.issue("scheduler-serving", _LOCAL)
        flags = {
            "kubeconfig": config,
            "authentication-kubeconfig": config,
            "authorization-kubeconfig": config,
            "bind-address": _LOCAL,
            "secure-port": self._schedule,
            "tls-cert-file": serving[0],
            "tls-private-key-file": serving[1],
            "leader-elect": "false",
            **self._common(),
        }
        ready = f"https://{_LOCAL}:{self._schedule}/healthz"
        return Command(argv=self._argv("kube-scheduler", flags), ready=ready)

    def _common(self) -> dict[str, str]:
        return {"feature-gates": self._gates} if self._gates else {}

    def _argv(self, program: str, flags: Mapping[str, object]) -> tuple[str, ...]:
        return (self._programs[program], *(f"--{name}={value}" for name, value in flags.items()))
