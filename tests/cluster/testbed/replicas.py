"""A ReplicaSet: pods that are replaced when the kubelet rejects them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from testbed import pods, waiting

if TYPE_CHECKING:
    from testbed.cluster import Cluster


class Replicas:
    """So many pods of a kind, whatever becomes of each."""

    def __init__(self, cluster: Cluster, name: str, count: int) -> None:
        """Look after those of a ReplicaSet."""
        self._cluster = cluster
        self._name = name
        self._count = count

    def pods(self) -> list[Any]:
        """Return every pod there has been, as objects of the API server."""
        found = self._cluster.pods()
        return [pod for pod in found if (pod.metadata.labels or {}).get("app") == self._name]

    def wait_running(self, *, timeout_s: float = 60) -> None:
        """Wait until as many run as are wanted."""
        waiting.poll(
            lambda: len(self._running()) == self._count,
            what=lambda: self._cluster.explain(
                "\n".join([f"not {self._count} run:", *map(pods.describe, self.pods())])
            ),
            timeout_s=timeout_s,
        )

    def _running(self) -> list[Any]:
        return [pod for pod in self.pods() if pods.all_running(pod)]

    def rejected(self) -> list[str]:
        """Return why the kubelet rejected pods, as ``reason: message``."""
        found = [pod.status for pod in self.pods() if pod.status.phase == "Failed"]
        return [f"{status.reason}: {status.message}" for status in found]


@contextlib.contextmanager
def replicas(cluster: Cluster, name: str, *, count: int, gpus: int) -> Iterator[Replicas]:
    """Yield so many pods with so many GPUs each, just created; none is left afterwards."""
    template = pods.manifest(name, pods.container(gpus=gpus), restartPolicy="Always")
    labels = {"app": name}
    template["metadata"] = {"labels": labels}
    spec = {"replicas": count, "selector": {"matchLabels": labels}, "template": template}
    kind = cluster.dynamic.resources.get(api_version="apps/v1", kind="ReplicaSet")
    body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec}
    kind.create(body=body, namespace=pods.NAMESPACE)
    made = Replicas(cluster, name, count)
    try:
        yield made
    finally:
        # While its pods are being deleted, a ReplicaSet that goes last replaces none.
        kind.delete(
            name=name,
            namespace=pods.NAMESPACE,
            body={"propagationPolicy": "Foreground", "gracePeriodSeconds": 0},
        )
        cluster.wait_no_pods(names={pod.metadata.name for pod in made.pods()})
