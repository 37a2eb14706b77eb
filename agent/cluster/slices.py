"""ResourceSlices and ResourceClaims at the API server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from agent.cluster.connection import ApiError, Connection
from agent.planning.api_abilities import Feature, dropped_features, read_version
from agent.planning.slices import API, Document, SliceChanges, Written

_SLICES = f"/apis/{API}/resourceslices"
_GONE = 404
# Slices that were deleted; a node has a few.
_REMEMBERED = 256


class NodeSlices:
    """The slices of a node's drivers as the API server has them; for a Watch.

    Usable from several threads. ``changed`` is called after every change, on the thread that
    brought it.
    """

    path = _SLICES

    def __init__(self, node: str, drivers: Collection[str], changed: Callable[[], None]) -> None:
        """Name the node and the drivers; nothing is known of their slices yet."""
        self.selector = f"spec.nodeName={node}"
        if len(drivers) == 1:
            # A field selector knows no "or": of several, those of all drivers come.
            self.selector += f",spec.driver={next(iter(drivers))}"
        self._drivers = frozenset(drivers)
        self._changed = changed
        self._lock = threading.Lock()
        self._known: dict[str, Document] | None = None
        # What was written may be gone before its writer has heard that it is there.
        self._gone: deque[object] = deque(maxlen=_REMEMBERED)

    def of(self, driver: str) -> list[Document] | None:
        """Return the slices of a driver; None until they are known."""
        with self._lock:
            known = self._known
            if known is None:
                return None
            return [each for each in known.values() if each["spec"]["driver"] == driver]

    def begin(self, connection: Connection) -> str:
        """Take in what is there; return the version to watch from. Raises ClusterError."""
        found = connection.get(_SLICES, fieldSelector=self.selector)
        with self._lock:
            self._known = {
                each["metadata"]["name"]: each
                for each in found.get("items") or ()
                if each["spec"]["driver"] in self._drivers
            }
        self._changed()
        return str((found.get("metadata") or {}).get("resourceVersion") or "")

    def change(self, kind: str, document: Mapping[str, Any]) -> None:
        """Take in a change: ADDED, MODIFIED or DELETED; those of other drivers are passed over."""
        if document["spec"]["driver"] not in self._drivers:
            return
        with self._lock:
            if self._known is not None:
                self._take_in(self._known, kind, document)
        self._changed()

    def _take_in(self, known: dict[str, Document], kind: str, document: Mapping[str, Any]) -> None:
        name, uid = document["metadata"]["name"], document["metadata"].get("uid")
        there = known.get(name)
        if kind == "DELETED":
            self._gone.append(uid)
            if there is not None and there["metadata"].get("uid") == uid:
                del known[name]
        elif uid not in self._gone and (there is None or not _is_older(document, there)):
            known[name] = dict(document)


def node_uid(connection: Connection, node: str) -> str:
    """Return the UID of a node. Raises ClusterError."""
    return str(connection.get(f"/api/v1/nodes/{node}")["metadata"]["uid"])


def server_version(connection: Connection) -> tuple[int, int]:
    """Return major and minor of the API server. Raises ClusterError."""
    return read_version(connection.get("/version"))


def change_slices(
    connection: Connection, changes: SliceChanges, there: NodeSlices
) -> tuple[Written, ...]:
    """Write changes, and note them in ``there``; a slice that is gone already counts as deleted.

    Returns what was written: all, or up to a slice whose counters the server has dropped. Devices
    that exclude each other by them must not be offered without, and a pool of which slices are
    missing offers nothing.

    Raises ClusterError; ApiError 409 when somebody else has written meanwhile.
    """
    for each in changes.delete:
        _delete(connection, each)
        there.change("DELETED", each)
    written = []
    for one in _each_written(connection, changes):
        there.change("MODIFIED", one.kept)
        written.append(one)
        if Feature.COUNTERS in dropped_features(one.sent, one.kept):
            break
    return tuple(written)


def read_claim_object(connection: Connection, namespace: str, name: str) -> Document:
    """Return a ResourceClaim. Raises ClusterError."""
    return connection.get(f"/apis/{API}/namespaces/{namespace}/resourceclaims/{name}")


def _is_older(document: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Return True for news of an object that is older than what is known of it."""
    a, b = (str(each["metadata"].get("resourceVersion", "")) for each in (document, there))
    same = document["metadata"].get("uid") == there["metadata"].get("uid")
    return same and a.isdecimal() and b.isdecimal() and int(a) < int(b)


def _each_written(connection: Connection, changes: SliceChanges) -> Iterator[Written]:
    for each in changes.update:
        kept = connection.put(f"{_SLICES}/{each['metadata']['name']}", each)
        yield Written(sent=each, kept=kept)
    for each in changes.create:
        yield Written(sent=each, kept=connection.post(_SLICES, each))


def _delete(connection: Connection, document: Document) -> None:
    metadata = document["metadata"]
    try:
        connection.delete(f"{_SLICES}/{metadata['name']}", uid=metadata.get("uid"))
    except ApiError as error:
        if error.status != _GONE:
            raise
