"""Follows objects of the API server on a thread: listed once, then watched."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import urllib3
from msgspec import Struct

from agent.cluster.connection import ApiError, Connection
from agent.model.errors import ClusterError

# The server ends a watch after this long: at another moment on every node.
_WATCH_S = (240, 480)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
# A watch that ends sooner has not been one.
_SHORT_S = 1.0
_GONE = 410


class Followed(Protocol):
    """What is followed; called on the thread of the Watch."""

    path: str
    selector: str
    """Field selector of the watch."""

    def begin(self, connection: Connection) -> str:
        """Take in what is there; return the version to watch from. Raises ClusterError."""
        ...

    def change(self, kind: str, document: Mapping[str, Any]) -> None:
        """Take in a change: ADDED, MODIFIED or DELETED."""
        ...


class _Change(Struct, frozen=True):
    type: str
    object: dict[str, Any]


class Watch:
    """Follows for as long as it takes, on a thread of its own.

    ``failed`` is called on that thread with what goes wrong, once for each kind of trouble, and
    with None when it is over.
    """

    def __init__(
        self,
        connection: Connection,
        followed: Followed,
        failed: Callable[[ClusterError | None], None],
    ) -> None:
        """Prepare; ``start`` starts it."""
        self._connection = connection
        self._followed = followed
        self._failed = failed
        self._trouble: str | None = None
        self._stop = threading.Event()
        self._answer: urllib3.BaseHTTPResponse | None = None
        self._thread = threading.Thread(target=self._run, name="api-watch", daemon=True)

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
                version = self._followed.begin(self._connection)
                self._note(None)
                self._follow(version)
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

    def _follow(self, version: str) -> None:
        """Take in every change from a version on, over as many watches as it takes.

        Raises ClusterError when it has to be begun anew.
        """
        at_once = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            for_s = random.randint(*_WATCH_S)  # noqa: S311 - spread over the nodes
            answer = self._connection.stream(
                self._followed.path,
                read_s=for_s + 30,
                watch="true",
                fieldSelector=self._followed.selector,
                resourceVersion=version,
                allowWatchBookmarks="true",
                timeoutSeconds=for_s,
            )
            self._answer = answer
            try:
                version = self._read(answer, version)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise ClusterError(f"watching {self._followed.selector}: {error}") from error
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
                    version = self._take_in(msgspec.json.decode(line, type=_Change), version)
        return version

    def _take_in(self, change: _Change, version: str) -> str:
        document = change.object
        if change.type == "ERROR":
            status, message = document.get("code", 0), document.get("message", "")
            if status == _GONE:
                raise ApiError("watching", _GONE, "the version is too old", None)
            raise ClusterError(f"watching {self._followed.selector}: {message} ({status})")
        if change.type in {"ADDED", "MODIFIED", "DELETED"}:
            self._followed.change(change.type, document)
        return str((document.get("metadata") or {}).get("resourceVersion") or version)

    def _note(self, trouble: ClusterError | None) -> None:
        said = None if trouble is None else str(trouble)
        if said != self._trouble:
            self._trouble = said
            self._failed(trouble)
