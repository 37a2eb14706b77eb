"""Asks the agent that runs on this node, over its local socket."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.config.own import LOCAL_SOCKET
from agent.model.errors import ConfigError, PlumblineError
from agent.model.machine import Machine

SocketOption = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="FILE",
        envvar="PLUMBLINE_SOCKET",
        help="Socket of the running agent; /run/plumbline/agent.sock of the machine.",
    ),
]

_TIMEOUT_S = 5.0


class NoAgentError(PlumblineError):
    """No agent answers on this node."""


def socket_of(machine: Path | None, named: Path | None) -> Path:
    """Return where the agent of a machine listens, unless another path is named."""
    if named is not None:
        return named
    return (Machine.live() if machine is None else Machine.simulated(machine)).path(LOCAL_SOCKET)


def ask(path: Path, **question: object) -> Any:  # noqa: ANN401 - JSON
    """Return the agent's answer.

    Raises NoAgentError where none listens, ConfigError for a question that it refuses.
    """
    try:
        reply = _exchange(path, json.dumps(question).encode() + b"\n")
        answer = json.loads(reply)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NoAgentError(
            f"no agent answers at {path}: {reason}; is `plumbline run` running here"
            " (in its container, use kubectl exec), and is plumbline.socket another path?"
        ) from error
    if "error" in answer:
        raise ConfigError(f"the agent says: {answer['error']}")
    return answer["answer"]


def _exchange(path: Path, line: bytes) -> bytes:
    # Through its folder: a socket's address has 107 bytes (unix(7)).
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            connection.sendall(line)
            with connection.makefile("rb") as answers:
                return answers.readline()
    finally:
        os.close(folder)
