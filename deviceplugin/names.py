"""Names the kubelet accepts: resources, and the sockets that serve them."""

from __future__ import annotations

import re
from pathlib import Path

from deviceplugin.errors import InvalidResourceName, SocketPathTooLong

KUBELET_SOCKET = "kubelet.sock"
# Where a kubelet keeps, through its restarts, which container holds which device.
KUBELET_CHECKPOINT = "kubelet_internal_checkpoint"

# sockaddr_un.sun_path holds 108 bytes on Linux, the last of them zero.
_SOCKET_PATH_BYTES = 107
# A qualified name of Kubernetes: DNS subdomain, slash, up to 63 characters.
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DOMAIN_LENGTH = 253
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# Quotas prefix extended resources with this, so the kubelet checks that there is room for it.
_QUOTA_PREFIX = "requests."


def check_resource_name(resource: str) -> None:
    """Raise InvalidResourceName unless the kubelet takes this for an extended resource."""
    domain, slash, name = resource.partition("/")
    if not slash:
        fault = "it has no domain, as in vendor.com/name"
    elif "kubernetes.io/" in resource:
        fault = "kubernetes.io is reserved for Kubernetes itself"
    elif resource.startswith(_QUOTA_PREFIX):
        fault = f"the prefix {_QUOTA_PREFIX} is reserved for quotas"
    elif not _DOMAIN.fullmatch(domain) or len(_QUOTA_PREFIX + domain) > _DOMAIN_LENGTH:
        fault = f"{domain!r} is no DNS subdomain"
    elif not _NAME.fullmatch(name):
        fault = f"{name!r} must be 1 to 63 letters, digits, '-', '_' or '.', not at its ends"
    else:
        return
    raise InvalidResourceName(f"resource name {resource!r} cannot be registered: {fault}")


def socket_name(resource: str) -> str:
    """Return the file name of a resource's socket: ``nvidia.com/gpu`` gives nvidia-gpu.sock.

    NVIDIA's plugin uses the same names, so taking over from it leaves no stale socket.
    """
    domain, _, name = resource.partition("/")
    return f"{domain.split('.', 1)[0]}-{name}.sock"


def qualified_socket_name(resource: str) -> str:
    """Return the name used where another vendor's resource has the short one already."""
    return f"{resource.replace('/', '-')}.sock"


def check_socket_path(path: Path) -> None:
    """Raise SocketPathTooLong when no socket can be bound at ``path``."""
    length = len(bytes(path))
    if length > _SOCKET_PATH_BYTES:
        raise SocketPathTooLong(
            f"the socket path {path} has {length} bytes and may have {_SOCKET_PATH_BYTES}; "
            "use a directory with a shorter path"
        )
