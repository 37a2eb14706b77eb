"""The kubelet's PodResourcesLister: who holds which devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from deviceplugin import rpc
from deviceplugin._generated import podresources_v1_pb2 as api
from deviceplugin.standin.pods import NO_NODE, Allocated, Container, Pod
from deviceplugin.values import Device


class Node(Protocol):
    """What the service reads."""

    pods: dict[str, Pod]

    def allocated(self, pod: Pod) -> Sequence[Allocated]:
        """Return what a pod holds."""
        ...

    def healthy_devices(self) -> Sequence[tuple[str, Device]]:
        """Return every healthy device with its resource."""
        ...


class PodResources:
    """Answers from the node as it is now.

    As in a kubelet, each device has an entry of its own, and one that is on several NUMA nodes
    has one for each.
    """

    def __init__(self, node: Node) -> None:
        """Read from ``node``."""
        self._node = node

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on a server that has not started."""
        handlers: dict[rpc.Rpc[Any, Any], rpc.Handler] = {
            rpc.LIST_PODS: rpc.LIST_PODS.served(self._list),
            rpc.GET_POD: rpc.GET_POD.served(self._get),
            rpc.LIST_ALLOCATABLE: rpc.LIST_ALLOCATABLE.served(self._list_allocatable),
        }
        rpc.serve_pod_resources(server, handlers)

    async def _list(
        self,
        _request: api.ListPodResourcesRequest,
        _context: rpc.Context[api.ListPodResourcesRequest, api.ListPodResourcesResponse],
    ) -> api.ListPodResourcesResponse:
        pods = [self._pod(pod) for pod in self._node.pods.values()]
        return api.ListPodResourcesResponse(pod_resources=pods)

    async def _get(
        self,
        request: api.GetPodResourcesRequest,
        context: rpc.Context[api.GetPodResourcesRequest, api.GetPodResourcesResponse],
    ) -> api.GetPodResourcesResponse:
        for pod in self._node.pods.values():
            if (pod.name, pod.namespace) == (request.pod_name, request.pod_namespace):
                return api.GetPodResourcesResponse(pod_resources=self._pod(pod))
        fault = f"pod {request.pod_name} in namespace {request.pod_namespace} not found"
        return await context.abort(grpc.StatusCode.UNKNOWN, fault)

    async def _list_allocatable(
        self,
        _request: api.AllocatableResourcesRequest,
        _context: rpc.Context[api.AllocatableResourcesRequest, api.AllocatableResourcesResponse],
    ) -> api.AllocatableResourcesResponse:
        return api.AllocatableResourcesResponse(
            devices=[
                entry
                for resource, device in self._node.healthy_devices()
                for entry in _entries(resource, device.id, device.numa_nodes)
            ]
        )

    def _pod(self, pod: Pod) -> api.PodResources:
        held = self._node.allocated(pod)
        # Init containers that ended are of no interest any more; sidecars are.
        lasting = [c for c in pod.init_containers if c.restartable] + list(pod.containers)
        return api.PodResources(
            name=pod.name,
            namespace=pod.namespace,
            containers=[_container(container, held, pod.namespace) for container in lasting],
        )


def _container(
    container: Container, held: Iterable[Allocated], namespace: str
) -> api.ContainerResources:
    own = [each for each in held if each.container == container.name]
    return api.ContainerResources(
        name=container.name,
        devices=[
            entry
            for each in own
            for id_, nodes in sorted(_nodes_by_id(each.ids_by_node).items())
            for entry in _entries(each.resource, id_, nodes)
        ],
        dynamic_resources=[
            api.DynamicResource(claim_namespace=namespace, claim_name=claim)
            for claim in container.claims
        ],
    )


def _nodes_by_id(ids_by_node: Mapping[int, Iterable[str]]) -> dict[str, list[int]]:
    nodes: dict[str, list[int]] = {}
    for node, ids in sorted(ids_by_node.items()):
        for id_ in ids:
            known = nodes.setdefault(id_, [])
            if node != NO_NODE:
                known.append(node)
    return nodes


def _entries(resource: str, id_: str, nodes: Iterable[int]) -> list[api.ContainerDevices]:
    topologies = [api.TopologyInfo(nodes=[api.NUMANode(ID=node)]) for node in nodes]
    places: list[api.TopologyInfo | None] = [*topologies] or [None]
    return [
        api.ContainerDevices(resource_name=resource, device_ids=[id_], topology=place)
        for place in places
    ]
