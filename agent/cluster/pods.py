"""Asks for the end of pods through the Eviction API, which honours PodDisruptionBudgets."""

from __future__ import annotations

from enum import StrEnum

from agent.cluster.connection import ApiError, Connection

# On pods that the kubelet runs from files: the API server only mirrors them.
_MIRROR = "kubernetes.io/config.mirror"


class Evicted(StrEnum):
    """What became of asking for a pod's end."""

    ASKED = "asked"
    """It ends in its own time."""
    GONE = "gone"
    BUDGET = "budget"
    """A PodDisruptionBudget does not let it go now."""
    STATIC = "static"
    """It comes from a file of the node: nobody can evict it."""


def evict(connection: Connection, pod: str) -> Evicted:
    """Ask for the end of a pod, ``namespace/name``. Raises ClusterError."""
    namespace, _, name = pod.partition("/")
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    try:
        meta = connection.get(path)["metadata"]
        if _MIRROR in (meta.get("annotations") or {}):
            return Evicted.STATIC
        if meta.get("deletionTimestamp"):
            return Evicted.ASKED
        connection.post(
            f"{path}/eviction",
            {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": name, "namespace": namespace},
                # The pod that was looked at, and no other that took its name since.
                "deleteOptions": {"preconditions": {"uid": meta["uid"]}},
            },
        )
    except ApiError as error:
        return _refused(error)
    return Evicted.ASKED


def _refused(error: ApiError) -> Evicted:
    match error.status:
        case 404 | 409:  # gone, or another pod of that name
            return Evicted.GONE
        case 429:  # the answer of a PodDisruptionBudget (KEP-85)
            return Evicted.BUDGET
        case _:
            raise error
