"""Requests to the API server over HTTPS, and what it answers."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.connection import HTTPConnection

from agent import VERSION
from agent.cluster.access import Access
from agent.model.errors import ClusterError

_CONNECT_S, _READ_S = 5.0, 10.0
# A watch is silent for minutes. A server that is gone without a word, or a NAT that forgot the
# connection, is found out in a minute; client-go asks each 30 s too.
_KEPT_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
# Bound tokens live an hour at least, and are exchanged at 80 %; client-go reads them each minute.
_TOKEN_S = 60.0
_SERVER_S_FAULT, _TOO_MANY = 500, 429
_MERGE_PATCH = "application/merge-patch+json"


class ApiError(ClusterError):
    """The API server refused; ``status`` is HTTP's."""

    def __init__(self, what: str, status: int, message: str, retry_after_s: float | None) -> None:
        """Name what was asked, and what was answered."""
        super().__init__(f"{what}: {message} ({status}){_advice(status)}")
        self.status = status
        self.may_pass = status >= _SERVER_S_FAULT or status == _TOO_MANY
        self.retry_after_s = retry_after_s


class Connection:
    """A pool of connections to one API server; usable from several threads."""

    def __init__(self, access: Access) -> None:
        """Prepare; nothing is sent yet. Raises ConfigError for unusable certificates."""
        self._access = access
        secure = access.server.startswith("https:")
        self._pool = urllib3.PoolManager(
            maxsize=4,
            retries=False,
            ssl_context=access.tls() if secure else None,
            socket_options=[*HTTPConnection.default_socket_options, *_KEPT_ALIVE],
        )
        self._token = access.token
        self._token_until_s = 0.0

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Return an object. Raises ClusterError."""
        return self._asked("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Create an object; return it. Raises ClusterError."""
        return self._asked("POST", path, body=body)

    def put(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Replace an object; return it. Raises ClusterError."""
        return self._asked("PUT", path, body=body)

    def delete(self, path: str, *, uid: str | None = None) -> dict[str, Any]:
        """Delete an object, the one with this UID where one is given. Raises ClusterError."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1"}
        only = {"preconditions": {"uid": uid}} if uid else {}
        return self._asked("DELETE", path, body={**options, **only})

    def patch(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Merge into an object (RFC 7396); return it. Raises ClusterError."""
        return self._asked("PATCH", path, body=body, kind=_MERGE_PATCH)

    def stream(self, path: str, *, read_s: float, **query: str | int) -> urllib3.BaseHTTPResponse:
        """Return an answer that is still coming; close it. Raises ClusterError."""
        answer = self._sent("GET", path, query=query, read_s=read_s, preload=False)
        if answer.status >= 400:
            with contextlib.closing(answer):
                raise self._error("GET", path, answer, answer.read())
        return answer

    def close(self) -> None:
        """Close what is not in use."""
        self._pool.clear()

    def _asked(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        kind: str = "application/json",
    ) -> dict[str, Any]:
        answer = self._sent(method, path, query=query, body=body, kind=kind)
        if answer.status >= 400:
            raise self._error(method, path, answer, answer.data)
        try:
            return dict(json.loads(answer.data))
        except ValueError as error:
            raise ClusterError(f"{method} {path}: the answer is no JSON object") from error

    def _sent(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        kind: str = "application/json",
        read_s: float = _READ_S,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": f"plumbline/{VERSION}"}
        token = self._current_token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = kind
        url = f"{self._access.server}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            return self._pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s),
                preload_content=preload,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(f"{method} {path}: {self._access.server}: {error}") from error

    def _current_token(self) -> str | None:
        file, now_s = self._access.token_file, time.monotonic()
        if file is not None and now_s >= self._token_until_s:
            # A file that cannot be read for a moment leaves the token as it was.
            with contextlib.suppress(OSError):
                self._token = file.read_text().strip()
                self._token_until_s = now_s + _TOKEN_S
        return self._token

    def _error(
        self, method: str, path: str, answer: urllib3.BaseHTTPResponse, data: bytes
    ) -> ApiError:
        try:
            message = str(json.loads(data)["message"])
        except (ValueError, KeyError, TypeError):
            message = data[:200].decode(errors="replace") or str(answer.reason)
        if answer.status == 401:
            self._token_until_s = 0.0
        after = answer.headers.get("Retry-After", "")
        retry_after_s = float(after) if after.isdecimal() else None
        return ApiError(f"{method} {path}", answer.status, message, retry_after_s)


def _advice(status: int) -> str:
    if status == 403:
        return "; bind the ClusterRole of daemonset/rbac.yaml to the agent's service account"
    return ""
