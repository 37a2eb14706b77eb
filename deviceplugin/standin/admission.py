"""Pod admission: hints, affinity, selection and Allocate, container by container."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import grpc.aio
from msgspec import Struct, field

from deviceplugin import wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.standin import numa
from deviceplugin.standin.accounts import Accounts
from deviceplugin.standin.devices import ResourceState
from deviceplugin.standin.numa import Hints, Numa, Policy
from deviceplugin.standin.pods import (
    NO_NODE,
    OUT_OF,
    TOPOLOGY_AFFINITY_ERROR,
    UNEXPECTED_ADMISSION_ERROR,
    AdmissionFailed,
    Allocated,
    Container,
    KubeletDied,
    Pod,
)
from deviceplugin.standin.selection import Selection, SelectionFailed, Stock

HintProvider = Callable[[Pod, Container], Mapping[str, Hints]]
"""Stands for the kubelet's other managers, of CPUs and of memory."""


class TopologyRules(Struct, frozen=True, kw_only=True):
    """How the topology manager is configured. Its scope is the container."""

    numa: Numa = field(default_factory=Numa)
    policy: Policy = Policy.NONE
    prefer_closest: bool = False
    hint_providers: tuple[HintProvider, ...] = ()


class Admission:
    """Admits one pod; an error leaves what its earlier containers got to be cleaned up."""

    def __init__(
        self,
        pod: Pod,
        *,
        resources: Mapping[str, ResourceState],
        accounts: Accounts,
        rules: TopologyRules,
        rng: random.Random,
    ) -> None:
        """Prepare; ``accounts`` is written to as containers are served."""
        self._pod = pod
        self._resources = resources
        self._accounts = accounts
        self._rules = rules
        self._rng = rng
        self._reusable: dict[str, frozenset[str]] = {}

    async def run(self) -> None:
        """Serve every container. Raises AdmissionFailed."""
        for container in self._pod.init_containers:
            await self._serve(container, is_reusable=not container.restartable)
        for container in self._pod.containers:
            await self._serve(container, is_reusable=False)

    async def _serve(self, container: Container, *, is_reusable: bool) -> None:
        affinity = self._affinity(container)
        # The kubelet walks a map of limits.
        requests = sorted(container.requests.items())
        self._rng.shuffle(requests)
        for resource, count in requests:
            try:
                held = await self._give(container, resource, count, affinity)
            except SelectionFailed as error:
                raise self._unexpected(str(error)) from error
            except grpc.aio.AioRpcError as error:
                text = f"rpc error: code = {error.code().name} desc = {error.details()}"
                raise self._unexpected(text) from error
            reusable = self._reusable.get(resource, frozenset())
            self._reusable[resource] = reusable | held if is_reusable else reusable - held

    def _unexpected(self, cause: str) -> AdmissionFailed:
        message = f"Allocate failed due to {cause}, which is unexpected"
        return AdmissionFailed(self._pod, UNEXPECTED_ADMISSION_ERROR, message)

    def _affinity(self, container: Container) -> int | None:
        rules = self._rules
        hints = [self._hints(container, *request) for request in container.requests.items()]
        for provider in rules.hint_providers:
            hints += provider(self._pod, container).values()
        mask, admitted = numa.affinity(
            hints, numa=rules.numa, policy=rules.policy, prefer_closest=rules.prefer_closest
        )
        if not admitted:
            raise AdmissionFailed(
                self._pod,
                TOPOLOGY_AFFINITY_ERROR,
                f"no NUMA affinity for container {container.name} that policy "
                f"{rules.policy} accepts",
            )
        return mask

    def _hints(self, container: Container, resource: str, count: int) -> Hints:
        if resource not in self._resources:
            return None
        stock = self._stock(resource)
        if not stock.has_topology:
            return None
        held = self._accounts.of_container(self._pod.uid, container.name, resource)
        reusable = self._reusable.get(resource, frozenset())
        if held is not None:
            if len(held.device_ids) != count:
                return []
            available, reusable = held.device_ids & stock.topology.keys(), frozenset()
        else:
            available = stock.available
        if len(available | reusable) < count:
            return []
        return numa.device_hints(
            stock.topology, available=available, reusable=reusable, request=count
        )

    def _stock(self, resource: str) -> Stock:
        state = self._resources[resource]
        return Stock(
            topology={device.id: device.numa_nodes for device in state.devices.values()},
            healthy=frozenset(state.healthy),
            allocated=self._accounts.allocated(resource),
        )

    async def _give(
        self, container: Container, resource: str, count: int, affinity: int | None
    ) -> frozenset[str]:
        """Return the devices the container holds of a resource, old or new."""
        if self._is_unheard_of(resource):
            return frozenset()
        held = self._accounts.of_container(self._pod.uid, container.name, resource)
        if held is not None and len(held.device_ids) != count:
            raise SelectionFailed(
                f"container {container.name} changed its request for {resource} "
                f"from {len(held.device_ids)} to {count}"
            )
        state = self._usable(resource, held.device_ids if held else frozenset())
        if held is not None or count == 0:
            return held.device_ids if held else frozenset()
        if state.client is None:
            raise SelectionFailed(f"{resource} has no plugin to ask")
        selection = Selection(count, rng=self._rng, prefer=state.client.prefer)
        chosen = await selection.run(
            resource,
            self._stock(resource),
            reusable=self._reusable.get(resource, frozenset()),
            affinity=affinity,
        )
        ids = sorted(chosen)
        self._rng.shuffle(ids)
        answer = await state.client.allocate(ids)
        if not answer.container_responses:
            raise SelectionFailed(f"the plugin of {resource} answered for no container")
        self._note(container, resource, chosen, answer.container_responses[0])
        return chosen

    def _is_unheard_of(self, resource: str) -> bool:
        """Return whether a resource is of no device plugin at all, and so left to others.

        Raises AdmissionFailed for one whose plugin is long gone: the node has 0 of it.
        """
        if self._accounts.knows(resource):
            return False
        state = self._resources.get(resource)
        if state is not None and state.is_forgotten:
            message = f"the node has too few: 1 or more of {resource} requested, 0 there"
            raise AdmissionFailed(self._pod, OUT_OF + resource, message)
        return state is None

    def _usable(self, resource: str, held: frozenset[str]) -> ResourceState:
        state = self._resources.get(resource)
        if state is None or state.is_forgotten:
            raise SelectionFailed(f"{resource} is not registered")
        if not state.healthy:
            raise SelectionFailed(f"{resource} has no healthy devices")
        if not state.healthy >= held:
            raise SelectionFailed(f"devices allocated before are unhealthy now: {resource}")
        return state

    def _note(
        self,
        container: Container,
        resource: str,
        chosen: frozenset[str],
        response: api.ContainerAllocateResponse,
    ) -> None:
        by_node: dict[int, frozenset[str]] = {}
        for id_ in chosen:
            device = self._resources[resource].devices.get(id_)
            if device is None:
                raise KubeletDied(f"{id_} of {resource} left the list while it was allocated")
            for node in device.numa_nodes or (NO_NODE,):
                by_node[node] = by_node.get(node, frozenset()) | {id_}
        allocated = Allocated(
            container=container.name,
            resource=resource,
            ids_by_node=by_node,
            allocation=wire.container_allocation(response),
            response=response.SerializeToString(),
        )
        self._accounts.add(self._pod.uid, allocated)
