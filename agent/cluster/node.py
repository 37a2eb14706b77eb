"""The node in the cluster: its labels, what is written on it, Events about it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import urllib3

from agent.cluster.connection import ApiError, Connection
from agent.model.errors import ClusterError

Labels = Mapping[str, str]
COMPONENT = "plumbline"
# The server ends a watch after this long: at another moment on every node.
_WATCH_S = (240, 480)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
# A watch that ends sooner has not been one.
_SHORT_S = 1.0
_GONE = 410
_MESSAGE_BYTES = 1024
"""Longest message of an Event (core/v1 validation)."""


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    labels: dict[str, str] = {}


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    code: int = 0
    message: str = ""


class _Change(msgspec.Struct, frozen=True):
    type: str
    object: _Object


class NodeWatch:
    """Follows the labels of one node on a thread of its own, for as long as it takes.

    ``changed`` is called on that thread with all labels whenever one has changed, and first with
    what they are. ``failed`` is called with what goes wrong, once for each kind of trouble, and
    with None when it is over.
    """

    def __init__(
        self,
        connection: Connection,
        node: str,
        changed: Callable[[Labels], None],
        failed: Callable[[ClusterError | None], None],
    ) -> None:
        """Prepare; ``start`` starts it."""
        self._connection = connection
        self._node = node
        self._changed = changed
        self._failed = failed
        self._known: Labels | None = None
        self._trouble: str | None = None
        self._stop = threading.Event()
        self._answer: urllib3.BaseHTTPResponse | None = None
        self._thread = threading.Thread(target=self._run, name="node-watch", daemon=True)

    def start(self) -> None:
        """Start to follow."""
        self._thread.start()

    def close(self) -> None:
        """Stop, whatever the server is doing."""
        self._stop.set()
        answer = self._answer
        if answer is not None:
            # It may have ended at this very moment.
            with contextlib.suppress(RuntimeError, ValueError, OSError):
                answer.shutdown()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                self._follow(self._list())
            except Exception as error:  # noqa: BLE001 - a thread that ended would follow nothing
                if self._stop.is_set():
                    return
                if isinstance(error, ClusterError):
                    self._note(error)
                else:
                    self._note(ClusterError(f"{type(error).__name__}: {error}"))
                wait_s = error.retry_after_s if isinstance(error, ApiError) else None
                if time.monotonic() - began_s > _LONGEST_PAUSE_S:
                    pause_s = _FIRST_PAUSE_S
                self._stop.wait(wait_s or pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - spread
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _list(self) -> str:
        """Take in what the labels are; return the version to watch from."""
        found = self._connection.get(f"/api/v1/nodes/{self._node}")
        meta = msgspec.convert(found, type=_Object).metadata
        self._take_in(meta.labels)
        self._note(None)
        return meta.resource_version

    def _follow(self, version: str) -> None:
        """Take in every change from a version on, over as many watches as it takes.

        Raises ClusterError when it has to be begun anew.
        """
        at_once = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            for_s = random.randint(*_WATCH_S)  # noqa: S311 - spread over the nodes
            answer = self._connection.stream(
                "/api/v1/nodes",
                read_s=for_s + 30,
                watch="true",
                fieldSelector=f"metadata.name={self._node}",
                resourceVersion=version,
                allowWatchBookmarks="true",
                timeoutSeconds=for_s,
            )
            self._answer = answer
            try:
                version = self._read(answer, version)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise ClusterError(f"watching node {self._node}: {error}") from error
            finally:
                self._answer = None
                answer.close()
            # A proxy, or a server that ends, may close every watch as soon as it is there.
            at_once = at_once + 1 if time.monotonic() - began_s < _SHORT_S else 0
            if at_once:
                self._stop.wait(min(_FIRST_PAUSE_S * 2 ** (at_once - 1), _LONGEST_PAUSE_S))

    def _read(self, answer: urllib3.BaseHTTPResponse, version: str) -> str:
        rest = b""
        for piece in answer.stream(amt=None):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    version = self._take_in_change(msgspec.json.decode(line, type=_Change), version)
        return version

    def _take_in_change(self, change: _Change, version: str) -> str:
        if change.type == "ERROR":
            status = change.object.code
            if status == _GONE:
                raise ApiError("watching", _GONE, "the version is too old", None)
            raise ClusterError(f"watching node {self._node}: {change.object.message} ({status})")
        if change.type in {"ADDED", "MODIFIED"}:
            self._take_in(change.object.metadata.labels)
        return change.object.metadata.resource_version or version

    def _take_in(self, labels: Labels) -> None:
        if labels != self._known:
            self._known = labels
            self._changed(labels)

    def _note(self, trouble: ClusterError | None) -> None:
        said = None if trouble is None else str(trouble)
        if said != self._trouble:
            self._trouble = said
            self._failed(trouble)


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
