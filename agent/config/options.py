"""What one run of the agent is told beside its configuration: where, and as which node."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from agent.config.section import Section

PodUid = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?\Z",
        description="the UID of a pod, as in 8b6e2f6c-5d0e-4c59-9f27-51d3f9a0c8a1",
    ),
]


class RunOptions(Section, frozen=True, kw_only=True):
    """Set by flags and environment only: a file cannot say where it is itself."""

    config_file: str | None = None
    """None: no file."""
    machine: str | None = None
    """Folder of a simulated machine; None is the machine this runs on."""
    kubelet_dir: str = "/var/lib/kubelet/device-plugins"
    """The kubelet's device plugin folder; elsewhere only for stand-ins."""
    kubelet_socket: str = "kubelet.sock"
    """Relative to ``kubelet_dir``; empty: do not register."""
    node_name: str | None = None
    """None: the API server is not spoken to."""
    pod_uid: PodUid | None = None
    """None: the process is no pod's, and is told apart by its number."""
    kubeconfig: str | None = None
    """None: the pod's service account."""
    print_config: bool = False
