"""Puts gRPC servers on unix sockets by rename."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import grpc.aio

from deviceplugin import names, rpc
from deviceplugin.files import FileIdentity, identify_socket

_numbers = itertools.count()


async def start_at(server: grpc.aio.Server, path: Path, *, prefix: str) -> FileIdentity | None:
    """Start a server at ``path`` and return the identity of its socket.

    The server binds a private name that is then renamed to ``path``: what was there is
    replaced without a gap, and gRPC, which at its end removes the name it bound, cannot
    remove the socket of a successor. Raises OSError; the server is stopped then.
    """
    private = path.parent / f"{prefix}{os.getpid():x}-{next(_numbers):x}"
    names.check_socket_path(private)
    try:
        server.add_insecure_port(rpc.target(private))
        await server.start()
        identity = identify_socket(private)
        private.rename(path)
    except RuntimeError as error:
        # gRPC words every failure to bind as RuntimeError.
        await server.stop(None)
        raise OSError(f"cannot bind a socket in {path.parent}: {error}") from error
    except BaseException:
        await server.stop(None)
        raise
    return identity


def remove_leftovers(directory: Path, *, prefix: str) -> None:
    """Remove private sockets that a killed process left."""
    for path in directory.glob(f"{prefix}*"):
        if identify_socket(path) is not None:
            path.unlink(missing_ok=True)
