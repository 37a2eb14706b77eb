"""Pods as far as device plugins are concerned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from deviceplugin.values import ContainerAllocation

NO_NODE = -1
"""Stands for the NUMA node of a device that has none, as in the kubelet's checkpoint."""


class Container(Struct, frozen=True, kw_only=True):
    """A container and the device-plugin resources in its limits."""

    name: str
    requests: Mapping[str, int] = field(default_factory=dict)
    restartable: bool = False
    """For init containers: a sidecar, which keeps its devices for the pod's whole life."""
    claims: tuple[str, ...] = ()
    """ResourceClaims whose devices it uses, by name; the stand-in only tells of them."""


class Pod(Struct, frozen=True, kw_only=True):
    """A pod. Devices of an init container are reused by the containers after it."""

    name: str
    namespace: str = "default"
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()

    @property
    def uid(self) -> str:
        """Return what tells this pod from others: here, its namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def all_containers(self) -> Iterator[Container]:
        """Return the containers in order of admission."""
        yield from self.init_containers
        yield from self.containers


class Allocated(Struct, frozen=True, kw_only=True):
    """What one container was given of one resource."""

    container: str
    resource: str
    ids_by_node: Mapping[int, frozenset[str]]
    """Device ids by NUMA node; a device of several nodes stands under each."""
    allocation: ContainerAllocation
    response: bytes
    """The plugin's answer as it came, for the checkpoint."""

    @property
    def device_ids(self) -> frozenset[str]:
        """Return all device ids."""
        return frozenset[str]().union(*self.ids_by_node.values())


class AdmissionFailed(Exception):  # noqa: N818  # says what happened to the pod
    """The pod was rejected; ``reason`` is what its status says."""

    def __init__(self, pod: Pod, reason: str, message: str) -> None:
        """Word it as the pod's status would."""
        super().__init__(f"{pod.uid}: {reason}: {message}")
        self.pod = pod
        self.reason = reason
        self.message = message


class KubeletDied(Exception):  # noqa: N818  # says what happened to the kubelet
    """A plugin did what a kubelet does not survive."""


UNEXPECTED_ADMISSION_ERROR = "UnexpectedAdmissionError"
TOPOLOGY_AFFINITY_ERROR = "TopologyAffinityError"
OUT_OF = "OutOf"
"""Followed by the name of the resource."""
