"""A socket on the node on which the running agent says what it knows and decided.

One JSON object on a line, one JSON object back: ``{"ask": "decisions", "last": 1}`` and
``{"answer": ...}`` or ``{"error": "..."}``. Only root can connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from agent.model.errors import ConfigError, PlumblineError
from agent.telemetry import logs

_LONGEST_LINE = 4096
_PATIENCE_S = 5.0
_FOLDER_MODE, _SOCKET_MODE = 0o755, 0o600


class LocalSocket:
    """Serves where it is told; the agent goes on without one that cannot be had."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Awaitable[object]]) -> None:
        """``answer`` returns what JSON can hold, or raises PlumblineError; it never blocks."""
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._inode: int | None = None

    async def listen(self, path: Path | None) -> bool:
        """Serve at a path, or nowhere; return whether that is so.

        A socket that lies there is of an instance that has ended, and is replaced. A path that
        cannot be used is logged once; to ask again tries again.
        """
        if path == self._path and (self._server is not None or path is None):
            return True
        self._close()
        known, self._path = self._path, path
        if path is None:
            return True
        try:
            bound, self._inode = _bind(path)
        except OSError as error:
            if known != path:
                logs.warning(
                    "local_socket_unusable",
                    path=path,
                    reason=error.strerror or error,
                    doing="serving without it: plumbline explain cannot ask this agent",
                )
            return False
        self._server = await asyncio.start_unix_server(self._serve, sock=bound, limit=_LONGEST_LINE)
        return True

    def _close(self) -> None:
        """Stop serving, and remove the socket unless another instance has taken its place."""
        if self._server is not None and self._path is not None:
            self._server.close()
            self._server = None
            _remove(self._path, inode=self._inode)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                line = await reader.readline()
                writer.write(json.dumps(await self._reply(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # who asked has gone, or never asked
        finally:
            writer.close()

    async def _reply(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                return {"error": "a question is a JSON object on one line"}
            return {"answer": await self._answer(request)}
        except ValueError as error:
            return {"error": f"a question is a JSON object on one line: {error}"}
        except PlumblineError as error:
            return {"error": str(error)}


def check_word(request: Mapping[str, Any], key: str, kind: type) -> Any:  # noqa: ANN401 - JSON
    """Return a value of a question, None when it is left out; raise ConfigError for another."""
    value = request.get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise ConfigError(f"{key} is {value!r}, not {kind.__name__}")


def _bind(path: Path) -> tuple[socket.socket, int]:
    """Return a listening socket and its inode, at a path however long: bound through its
    folder, and renamed.
    """
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    private = f".{path.name}.{os.getpid()}"
    if not _may_replace(path):
        os.close(folder)
        raise FileExistsError(errno.EEXIST, "a file that is no socket is there; name another path")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(private, dir_fd=folder)
        # A socket's address has 107 bytes (unix(7)); a folder may be deeper than that.
        bound.bind(f"/proc/self/fd/{folder}/{private}")
        os.chmod(private, _SOCKET_MODE, dir_fd=folder)
        bound.listen()
        inode = os.stat(private, dir_fd=folder).st_ino
        os.rename(private, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        bound.close()
        with contextlib.suppress(OSError):
            os.unlink(private, dir_fd=folder)
        raise
    finally:
        os.close(folder)
    return bound, inode


def _may_replace(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _remove(path: Path, *, inode: int | None) -> None:
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()
