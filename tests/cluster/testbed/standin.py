"""The kubelet stand-in beside the real kubelet, driven from tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Collection
from pathlib import Path
from typing import TypeVar

import grpc

from deviceplugin import rpc
from deviceplugin._generated import podresources_v1_pb2 as api
from deviceplugin.standin import Kubelet, TopologyRules
from testbed import waiting

T = TypeVar("T")


class Standin:
    """A stand-in with an event loop and a thread of its own."""

    def __init__(self, folder: Path, rules: TopologyRules | None = None) -> None:
        """Start it in ``folder``."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.folder = folder / "device-plugins"
        self.kubelet = self.run(self._start(rules))

    def run(self, work: Awaitable[T]) -> T:
        """Do something on its loop; return what comes of it."""
        return asyncio.run_coroutine_threadsafe(_awaited(work), self._loop).result(30)

    def offered(self, resource: str) -> tuple[int, int]:
        """Return capacity and allocatable of a resource."""
        return self.run(self._offered(resource))

    def wait_devices(self, resource: str, ids: Collection[str]) -> None:
        """Wait until these were listed."""
        self.run(self.kubelet.devices(resource, lambda known: known.keys() == set(ids)))

    def wait_streams(self, resource: str, count: int) -> None:
        """Wait until it holds so many streams of a resource."""
        waiting.poll(
            lambda: self.kubelet.streams(resource) == count,
            what=lambda: f"{resource} has {self.kubelet.streams(resource)} streams, not {count}",
        )

    def wait_offered(self, resource: str, *, capacity: int, allocatable: int) -> None:
        """Wait until the node's status says so of a resource."""
        waiting.poll(
            lambda: self.offered(resource) == (capacity, allocatable),
            what=lambda: f"{resource} is {self.offered(resource)}",
        )

    def pod_resources(self) -> dict[str, api.PodResources]:
        """Return what it says its pods hold, by pod."""
        with grpc.insecure_channel(rpc.target(self.kubelet.pod_resources)) as channel:
            call = channel.unary_unary(
                rpc.LIST_PODS.path,
                request_serializer=api.ListPodResourcesRequest.SerializeToString,
                response_deserializer=api.ListPodResourcesResponse.FromString,
            )
            answer = call(api.ListPodResourcesRequest(), timeout=10)
        return {pod.name: pod for pod in answer.pod_resources}

    def stop(self) -> None:
        """End it."""
        self.run(self.kubelet.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _offered(self, resource: str) -> tuple[int, int]:
        return self.kubelet.capacity[resource], self.kubelet.allocatable[resource]

    async def _start(self, rules: TopologyRules | None) -> Kubelet:
        kubelet = Kubelet(self.folder, rules=rules)
        await kubelet.start()
        return kubelet


async def _awaited(work: Awaitable[T]) -> T:
    return await work
