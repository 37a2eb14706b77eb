"""CDI specifications of claims: a file for each, there as long as the claim is prepared.

Names are those of NVIDIA's driver. Blocking: call it from a worker thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent.model.errors import HardwareError
from agent.model.inventory import Gpu
from agent.partition.written import forget, write_down
from agent.planning import cdi

VENDOR = "k8s.gpu.nvidia.com"
KIND = f"{VENDOR}/claim"
_MODE = 0o644


def claim_device(uid: str, device: str) -> str:
    """Return the qualified CDI name of a claim's device."""
    return f"{KIND}={uid}-{device}"


def write_spec(
    folder: Path, uid: str, devices: Iterable[tuple[str, Gpu]], around: cdi.Surroundings
) -> None:
    """Write the specification of a claim; ``devices`` are names with their GPUs.

    Raises HardwareError, also for a GPU without a device node.
    """
    named = []
    for name, gpu in devices:
        found = cdi.cdi_gpu(gpu)
        if found is None:
            raise HardwareError(f"GPU {gpu.uuid} has no device node")
        named.append((f"{uid}-{name}", found))
    document = cdi.claim_spec(KIND, named, around)
    path = _path(folder, uid)
    write_down(path, cdi.encode(document))
    path.chmod(_MODE)  # a runtime may run as another user


def has_spec(folder: Path, uid: str) -> bool:
    """Return True when the specification of a claim is there."""
    return _path(folder, uid).is_file()


def remove_spec(folder: Path, uid: str) -> None:
    """Remove the specification of a claim. Raises HardwareError."""
    forget(_path(folder, uid))


def _path(folder: Path, uid: str) -> Path:
    return folder / f"{VENDOR}-claim_{uid}.json"
