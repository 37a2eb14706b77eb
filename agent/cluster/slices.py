"""ResourceSlices and ResourceClaims at the API server."""

from __future__ import annotations

from agent.cluster.connection import ApiError, Connection
from agent.planning.slices import API, Document, SliceChanges

_SLICES = f"/apis/{API}/resourceslices"
_GONE = 404


def node_uid(connection: Connection, node: str) -> str:
    """Return the UID of a node. Raises ClusterError."""
    return str(connection.get(f"/api/v1/nodes/{node}")["metadata"]["uid"])


def list_slices(connection: Connection, node: str, driver: str) -> list[Document]:
    """Return the slices of a driver on a node. Raises ClusterError."""
    selector = f"spec.nodeName={node},spec.driver={driver}"
    return list(connection.get(_SLICES, fieldSelector=selector).get("items") or ())


def change_slices(connection: Connection, changes: SliceChanges) -> None:
    """Write changes; a slice that is gone already counts as deleted.

    Raises ClusterError; ApiError 409 when somebody else has written meanwhile: list again.
    """
    for each in changes.delete:
        _delete(connection, each)
    for each in changes.update:
        connection.put(f"{_SLICES}/{each['metadata']['name']}", each)
    for each in changes.create:
        connection.post(_SLICES, each)


def read_claim_object(connection: Connection, namespace: str, name: str) -> Document:
    """Return a ResourceClaim. Raises ClusterError."""
    return connection.get(f"/apis/{API}/namespaces/{namespace}/resourceclaims/{name}")


def _delete(connection: Connection, document: Document) -> None:
    metadata = document["metadata"]
    try:
        connection.delete(f"{_SLICES}/{metadata['name']}", uid=metadata.get("uid"))
    except ApiError as error:
        if error.status != _GONE:
            raise
