"""What can go wrong at the kubelet's door, as far as a caller can do something about it.

    DevicePluginError
    |-- DirectoryHeld        another instance serves this directory
    |-- AllocationRefused    a backend says no to an Allocate call
    |-- InvalidResourceName  the kubelet would refuse the name
    |-- PodResourcesUnreachable  the kubelet does not say what its pods hold
    `-- SocketPathTooLong    the path does not fit into a unix socket address

A kubelet that is absent, slow or refusing is no error here: it is waited for.
"""

# ruff: noqa: N818  # the names say what happened, as FileExistsError does not

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class DevicePluginError(Exception):
    """Anything this package raises on purpose."""


class AllocationRefused(DevicePluginError):
    """The devices cannot be given; the message reaches the pod's events."""


class InvalidResourceName(DevicePluginError):
    """The name is no extended resource name."""


class PodResourcesUnreachable(DevicePluginError):
    """The kubelet's PodResources service cannot be asked."""

    def __init__(self, socket: Path, reason: str) -> None:
        """Say which socket, and why."""
        super().__init__(f"{socket}: {reason}")


class SocketPathTooLong(DevicePluginError):
    """The path of a socket does not fit into a unix socket address (107 bytes on Linux)."""


class Holder(Struct, frozen=True, kw_only=True):
    """The process that holds a directory, as it described itself."""

    pid: int
    """In the holder's own PID namespace."""
    host: str
    started: str
    """ISO 8601, UTC."""
    command: str

    def __str__(self) -> str:
        """Name the holder as an operator looks for it."""
        return f"pid {self.pid} on {self.host}, running since {self.started}: {self.command}"


class DirectoryHeld(DevicePluginError):
    """Another instance already serves the directory."""

    def __init__(self, directory: Path, holder: Holder | None) -> None:
        """Name the directory and, where it is known, who holds it."""
        who = f"another instance ({holder})" if holder else "another instance that left no name"
        super().__init__(
            f"{directory} is already served by {who}; stop it, or give this one another directory"
        )
        self.directory = directory
        self.holder = holder
