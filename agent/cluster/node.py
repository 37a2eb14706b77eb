"""The node in the cluster: its labels, what is written on it, Events about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.cluster.connection import Connection

Labels = Mapping[str, str]
COMPONENT = "plumbline"
_MESSAGE_BYTES = 1024
"""Longest message of an Event (core/v1 validation)."""


class NodeLabels:
    """The labels of one node, for a Watch.

    ``changed`` is called with all labels whenever one has changed, and first with what they are.
    """

    path = "/api/v1/nodes"

    def __init__(self, node: str, changed: Callable[[Labels], None]) -> None:
        """Name the node; nothing is known of it yet."""
        self.selector = f"metadata.name={node}"
        self._node = node
        self._changed = changed
        self._known: Labels | None = None

    def begin(self, connection: Connection) -> str:
        """Take in what the labels are; return the version to watch from. Raises ClusterError."""
        found = connection.get(f"{self.path}/{self._node}")
        self.change("ADDED", found)
        return str(found["metadata"]["resourceVersion"])

    def change(self, kind: str, document: Mapping[str, Any]) -> None:
        """Take in a change of the node."""
        labels = dict(document["metadata"].get("labels") or {})
        if kind != "DELETED" and labels != self._known:
            self._known = labels
            self._changed(labels)


def write_node(
    connection: Connection,
    node: str,
    *,
    labels: Mapping[str, str | None],
    annotations: Mapping[str, str | None],
) -> None:
    """Set these labels and annotations of a node; None removes one. Raises ClusterError."""
    metadata: dict[str, object] = {"labels": dict(labels), "annotations": dict(annotations)}
    connection.patch(f"/api/v1/nodes/{node}", {"metadata": metadata})


def write_event(
    connection: Connection, node: str, *, warning: bool, reason: str, message: str
) -> None:
    """Say what has happened to a node, as ``kubectl describe node`` shows it.

    Raises ClusterError.
    """
    now = datetime.now(UTC)
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    event: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{node}.{time.time_ns():x}", "namespace": "default"},
        # As the kubelet refers to its node: by name also where the UID goes.
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": shortened(message),
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
    connection.post("/api/v1/namespaces/default/events", event)


def shortened(message: str, most: int = _MESSAGE_BYTES) -> str:
    """Return a message of so many bytes at most, as UTF-8."""
    data = message.encode()
    if len(data) <= most:
        return message
    return data[: most - 3].decode(errors="ignore") + "..."
