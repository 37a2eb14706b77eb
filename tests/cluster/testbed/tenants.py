"""Pods that run while something happens around them, and must not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.pods import GPU, Inside, Pod, all_running

if TYPE_CHECKING:
    from testbed.cluster import Cluster


class Tenants:
    """Pods with GPUs; remembers what each has, inside and by the kubelet's word."""

    def __init__(self, cluster: Cluster, *gpus: int, **spec: object) -> None:
        """Create a pod for each count of GPUs; returns when all run."""
        self._cluster = cluster
        made = [
            cluster.pod(f"tenant-{n}-of-{count}", gpus=count, **spec)
            for n, count in enumerate(gpus)
        ]
        self.pods: list[Pod] = [pod.wait_running() for pod in made]
        self._insides: list[Inside] = [pod.inside() for pod in self.pods]
        self._sights = [inside.sight for inside in self._insides]
        self.held = {pod.name: pod.held() for pod in self.pods}

    def check_inside(self) -> None:
        """Assert that every container is what it was; asks no part of Kubernetes."""
        sights = [inside.sight for inside in self._insides]
        for now, before in zip(sights, self._sights, strict=True):
            assert now.first_process == before.first_process
            assert now.env == before.env, f"environment {now.env}, before: {before.env}"
            assert now.devices == before.devices, f"devices {now.devices}, before: {before.devices}"

    def check(self) -> None:
        """Assert that nothing of a pod has changed, wherever one looks."""
        self.check_inside()
        self._cluster.node.wait_told_of(self.held)
        held = {pod.name: pod.held() for pod in self.pods}
        assert held == self.held, f"PodResources tells {held}, before: {self.held}"
        statuses = [pod.wait(all_running, why="running").status for pod in self.pods]
        assert [status.phase for status in statuses] == ["Running"] * len(self.pods)
        restarts = [c.restart_count for status in statuses for c in status.container_statuses]
        assert set(restarts) == {0}
        assert health(*statuses) <= {"Healthy"}


def health(*statuses: object) -> set[str]:
    """Return what the kubelet tells of the GPUs' health in these pod statuses."""
    return {
        device.health
        for status in statuses
        for container in status.container_statuses
        for resource in container.allocated_resources_status or ()
        if resource.name == GPU
        for device in resource.resources
    }


def check_none_is_given_twice(cluster: Cluster) -> None:
    """Assert that no GPU is with two containers, by the kubelet's word and by what they see."""
    told = [
        id_
        for pod in cluster.node.pod_resources().values()
        for container in pod.containers
        for device in container.devices
        if device.resource_name == GPU
        for id_ in device.device_ids
    ]
    assert len(told) == len(set(told)), f"PodResources tells of a GPU twice: {sorted(told)}"
    seen = [
        device
        for pod in cluster.pods()
        for status in pod.status.container_statuses or ()
        if status.state.running
        for device in Inside(cluster, status.container_id.removeprefix("containerd://")).gpus
    ]
    assert len(seen) == len(set(seen)), f"a GPU is in two containers: {sorted(seen)}"
