"""The node as the API server and as its own kubelet tell of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from deviceplugin import rpc
from deviceplugin._generated import podresources_v1_pb2 as api
from testbed import waiting
from testbed.controlplane import NODE_NAME

if TYPE_CHECKING:
    from testbed.cluster import Cluster


class NodeView:
    """Reads, and waits for, what the node has."""

    def __init__(self, cluster: Cluster) -> None:
        """Look at the node of ``cluster``."""
        self._cluster = cluster
        self.name = NODE_NAME

    @property
    def status(self) -> Any:
        """Return the node's status now."""
        return self._cluster.core.read_node(self.name).status

    @property
    def allocatable(self) -> dict[str, str]:
        """Return what pods may ask of the node, by resource name."""
        return dict(self.status.allocatable)

    @property
    def capacity(self) -> dict[str, str]:
        """Return what the node has, by resource name."""
        return dict(self.status.capacity)

    def wait_allocatable(self, resource: str, count: int, *, timeout_s: float = 15) -> None:
        """Wait until so many of a resource may be asked for."""
        self.wait(
            lambda node: int((node.status.allocatable or {}).get(resource, "-1")) == count,
            why=f"allocatable {resource} is not {count}",
            timeout_s=timeout_s,
        )

    def wait_ready(self, *, ready: bool = True, timeout_s: float = 60) -> None:
        """Wait until the node is Ready, or is not any more."""

        def as_wanted(node: Any) -> bool:
            states = [c.status for c in node.status.conditions or () if c.type == "Ready"]
            return bool(states) and (states[0] == "True") == ready

        self.wait(as_wanted, why=f"Ready is not {ready}", timeout_s=timeout_s)

    def wait(self, condition: Any, *, why: str, timeout_s: float) -> Any:
        """Wait until the node fulfils a condition."""
        return waiting.until(
            self._cluster.core.list_node,
            lambda node: node is not None and condition(node),
            timeout_s=timeout_s,
            what=lambda node: self._cluster.explain(f"{why}: {_describe(node)}"),
            field_selector=f"metadata.name={self.name}",
        )

    def forget(self) -> None:
        """Take every device from the node's status; its kubelet must not run."""
        gone = {name: None for name in self.capacity if "/" in name}
        body = {"status": {"capacity": gone, "allocatable": gone}}
        self._cluster.core.patch_node_status(self.name, body)

    def pod_resources(self) -> dict[str, api.PodResources]:
        """Return what the kubelet says its pods hold, by pod."""
        answer = self._ask(rpc.LIST_PODS, api.ListPodResourcesRequest())
        return {pod.name: pod for pod in answer.pod_resources}

    def wait_told_of(self, pods: Iterable[str], *, timeout_s: float = 15) -> None:
        """Wait until the kubelet lists these pods: one that just started has heard of none."""
        wanted = set(pods)
        waiting.poll(
            lambda: wanted <= self.pod_resources().keys(),
            what=lambda: self._cluster.explain(f"PodResources does not list all of {wanted}"),
            timeout_s=timeout_s,
        )

    def allocatable_resources(self) -> api.AllocatableResourcesResponse:
        """Return what the kubelet says it can give."""
        return self._ask(rpc.LIST_ALLOCATABLE, api.AllocatableResourcesRequest())

    def offered(self, resource: str) -> int:
        """Return how many devices the kubelet itself counts as allocatable; 0 while it is away."""
        with contextlib.suppress(grpc.RpcError):
            request = api.AllocatableResourcesRequest()
            devices = self._ask(rpc.LIST_ALLOCATABLE, request, wait=False).devices
            return sum(len(d.device_ids) for d in devices if d.resource_name == resource)
        return 0

    def held(self, pod: str, container: str, resource: str) -> list[str]:
        """Return the ids of a resource that a container holds."""
        for each in self._container(pod, container):
            found = [d for d in each.devices if d.resource_name == resource]
            return sorted(id_ for device in found for id_ in device.device_ids)
        return []

    def cpus(self, pod: str, container: str = "main") -> set[int]:
        """Return the CPUs that a container has for itself."""
        return {cpu for each in self._container(pod, container) for cpu in each.cpu_ids}

    def _container(self, pod: str, container: str) -> list[api.ContainerResources]:
        found = self.pod_resources().get(pod)
        return [c for c in found.containers if c.name == container] if found else []

    def _ask(self, method: rpc.Rpc[Any, Any], request: Any, *, wait: bool = True) -> Any:
        socket: Path = self._cluster.node_side.kubelet_dir / "pod-resources" / "kubelet.sock"
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            call = channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.answer.FromString,
            )
            return call(request, timeout=10, wait_for_ready=wait)


def _describe(node: Any) -> str:
    if node is None:
        return "there is no such node"
    conditions = [f"{c.type}={c.status}" for c in node.status.conditions or ()]
    conditions += [c.message for c in node.status.conditions or () if c.type == "Ready"]
    return f"{' '.join(conditions)}; allocatable {node.status.allocatable}"
