"""What a node's status said over time, to tell how long its capacity was gone."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import urllib3
from kubernetes import watch
from kubernetes.client.exceptions import ApiException

from testbed import waiting

if TYPE_CHECKING:
    from testbed.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The node's status as it was told at a moment."""

    at_s: float
    """Of the monotonic clock."""
    allocatable: dict[str, str]
    heartbeat: float
    """When the kubelet wrote it, in whole seconds of the epoch."""
    ready: bool


class History:
    """Watches the node from entry to exit, through failures of the API server too."""

    def __init__(self, cluster: Cluster) -> None:
        """Prepare; nothing is watched yet."""
        self._cluster = cluster
        self._seen: list[Seen] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to watch."""
        self._ended.set()
        self._thread.join(30)

    def allocatable(self, resource: str, *, since_s: float) -> list[int]:
        """Return the counts told since a moment, each once in a row."""
        counts: list[int] = []
        for seen in list(self._seen):
            count = int(seen.allocatable.get(resource, "-1"))
            if seen.at_s >= since_s and counts[-1:] != [count]:
                counts.append(count)
        return counts

    def whole_again(
        self, resource: str, count: int, *, since_s: float, timeout_s: float = 30
    ) -> float:
        """Wait until the whole of a resource is on offer; return after how many seconds it was.

        It is when the kubelet itself says so, and the node's status does too from then on. That
        this status was written later than the kubelet's word is waited for, and not counted.
        """
        node, end_s = self._cluster.node, time.monotonic() + timeout_s
        waiting.poll(
            lambda: node.offered(resource) == count,
            what=lambda: self._explain(f"the kubelet offers not {count} {resource}"),
            timeout_s=timeout_s,
        )
        offered_s, written = time.monotonic(), time.time()
        waiting.poll(
            lambda: any(self._is_whole(s, resource, count, written) for s in self._seen[-1:]),
            what=lambda: self._explain(f"no status with {count} {resource} is written"),
            timeout_s=end_s - offered_s,
        )
        amiss = [s.at_s for s in self._seen if s.allocatable.get(resource) != str(count)]
        told_s = next(s.at_s for s in self._seen if s.at_s > max(amiss, default=0.0))
        return max(offered_s, told_s) - since_s

    def _is_whole(self, seen: Seen, resource: str, count: int, written: float) -> bool:
        return (
            seen.ready
            and seen.allocatable.get(resource) == str(count)
            and seen.heartbeat > int(written)
        )

    def _explain(self, what: str) -> str:
        return self._cluster.explain(f"{what}: {self._seen[-3:]}")

    def _watch(self) -> None:
        core, name = self._cluster.core, self._cluster.node.name
        while not self._ended.is_set():
            stream = watch.Watch()
            with contextlib.suppress(ApiException, urllib3.exceptions.HTTPError):
                for event in stream.stream(
                    core.list_node,
                    field_selector=f"metadata.name={name}",
                    timeout_seconds=60,
                    _request_timeout=(2, 5),
                ):
                    self._seen.append(_seen(event["object"]))
                    if self._ended.is_set():
                        return
            self._ended.wait(0.05)


def _seen(node: Any) -> Seen:
    (ready,) = [c for c in node.status.conditions if c.type == "Ready"]
    return Seen(
        at_s=time.monotonic(),
        allocatable=dict(node.status.allocatable or {}),
        heartbeat=ready.last_heartbeat_time.timestamp(),
        ready=ready.status == "True",
    )
