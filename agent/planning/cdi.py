"""CDI specifications for GPUs, as plain dicts: what a container runtime adds to a container.

Keys and rules are those of the Container Device Interface specification
(github.com/cncf-tags/container-device-interface, SPEC.md). Discovering driver libraries and
hooks is somebody else's job; they come in as values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.config.schema import DeviceIdStrategy
from agent.model.errors import HardwareError
from agent.model.inventory import Gpu

VENDOR = "k8s.device-plugin.nvidia.com"
"""Upstream's, so that one agent can take over from the other on a node."""

ALL = "all"
"""The device that is every device of a class."""

CONTROL_NODES = (
    "/dev/nvidia-modeset",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidiactl",
)
"""What every program needs that uses a GPU, as far as the driver has made them."""

_INVALID_IN_NAME = re.compile(r"[^A-Za-z0-9_.:-]")
_NOT_ALPHANUMERIC = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+\Z")


class CdiClass(StrEnum):
    """Classes of devices under our vendor, each in a file of its own."""

    GPU = "gpu"
    GDS = "gds"
    MOFED = "mofed"
    GDRCOPY = "gdrcopy"


class HookName(StrEnum):
    """Points of a container's life at which OCI runtimes call hooks."""

    CREATE_RUNTIME = "createRuntime"
    CREATE_CONTAINER = "createContainer"
    START_CONTAINER = "startContainer"
    POSTSTART = "poststart"
    POSTSTOP = "poststop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of the driver that the container needs; read-only."""

    path: str
    """As the agent sees it, below its driver root."""
    options: tuple[str, ...] = ("ro", "nosuid", "nodev", "rbind", "rprivate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A program that the runtime calls."""

    name: HookName
    path: str
    """As the host's runtime finds it."""
    args: tuple[str, ...] = ()
    """With the program's own name first."""
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A folder that the agent and the host know under different paths."""

    agent: str = "/"
    host: str = "/"

    def inside(self, path: str) -> str:
        """Return a path of the agent as it is below this root: what a container will see."""
        prefix = self.agent.rstrip("/")
        return path[len(prefix) :] if prefix and path.startswith(prefix + "/") else path

    def on_host(self, path: str) -> str:
        """Return where the host has a path of the agent."""
        return self.host.rstrip("/") + self.inside(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiGpu:
    """One GPU, or part of one, and the device nodes it is used through."""

    uuid: str
    index: str
    """``i``, or ``i:j`` for a MIG device."""
    nodes: tuple[str, ...]
    """As the agent sees them, below its device root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every GPU container gets beside its GPUs, and where things are."""

    control_nodes: tuple[str, ...] = ()
    """Those of CONTROL_NODES that exist."""
    dev_root: Root = Root()
    driver_root: Root = Root()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()


def cdi_gpu(gpu: Gpu, drm_nodes: Sequence[str] = ()) -> CdiGpu | None:
    """Return a GPU as CDI offers it; None when its device node is not known."""
    if gpu.device_node is None:
        return None
    return CdiGpu(uuid=gpu.uuid, index=str(gpu.index), nodes=(gpu.device_node, *drm_nodes))


def qualified_name(cdi_class: CdiClass, name: str) -> str:
    """Return what a runtime is asked for: ``vendor/class=name``."""
    return f"{VENDOR}/{cdi_class}={device_name(name)}"


def file_name(cdi_class: CdiClass) -> str:
    """Return the name of the file a class is written to."""
    return f"{VENDOR}-{cdi_class}.json"


def device_name(text: str) -> str:
    """Return a name CDI allows: letters, digits and ``_ . : -``, ending in letters or digits.

    Raises HardwareError when nothing is left.
    """
    name = _NOT_ALPHANUMERIC.sub("", _INVALID_IN_NAME.sub("_", text))
    if not name:
        raise HardwareError(
            f"the driver names a device {text!r}, which CDI cannot; check the driver"
        )
    return name


def gpu_spec(
    gpus: Iterable[CdiGpu],
    naming: Collection[DeviceIdStrategy],
    surroundings: Surroundings,
) -> dict[str, object] | None:
    """Return the specification of class ``gpu``; None without GPUs, which CDI cannot express.

    Every GPU is a device under each name asked for, and ``all`` is all of them. Equal GPUs
    give an equal document whatever order they come in.
    Raises HardwareError when two GPUs have the same name.
    """
    ordered = sorted(gpus, key=_by_index)
    if not ordered:
        return None
    root = surroundings.dev_root
    devices = [
        _device(name, gpu.nodes, root)
        for naming_by in sorted(set(naming))
        for gpu in ordered
        for name in (gpu.uuid if naming_by is DeviceIdStrategy.UUID else gpu.index,)
    ]
    devices.append(_device(ALL, [node for gpu in ordered for node in gpu.nodes], root))
    _refuse_twins([str(device["name"]) for device in devices])
    return _document(CdiClass.GPU, devices, _common_edits(surroundings))


def node_spec(
    cdi_class: CdiClass, nodes: Sequence[str], surroundings: Surroundings
) -> dict[str, object] | None:
    """Return the specification of a class whose one device is ``all``: some nodes and mounts.

    None when there is nothing to give.
    """
    edits = _edits(nodes, surroundings.dev_root)
    mounts = [_mount(mount, surroundings.driver_root) for mount in surroundings.mounts]
    if mounts:
        edits["mounts"] = mounts
    if not edits:
        return None
    return _document(cdi_class, [{"name": ALL, "containerEdits": edits}], {})


def encode(document: dict[str, object]) -> bytes:
    """Return a document as the bytes of its file: equal documents, equal bytes."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _document(
    cdi_class: CdiClass, devices: list[dict[str, object]], common: dict[str, object]
) -> dict[str, object]:
    document: dict[str, object] = {
        "cdiVersion": "",
        "kind": f"{VENDOR}/{cdi_class}",
        "devices": devices,
    }
    if common:
        document["containerEdits"] = common
    return {**document, "cdiVersion": _minimum_version(devices, common)}


def _minimum_version(devices: list[dict[str, object]], common: dict[str, object]) -> str:
    """Return the oldest version that has what is used, which the most runtimes read.

    hostPath of a device node, and names that begin with a digit, came with 0.5.0; all else
    that is written here is in 0.3.0, the first that runtimes accept.
    """
    edits = [common, *(device["containerEdits"] for device in devices)]
    nodes = [n for e in edits if isinstance(e, dict) for n in e.get("deviceNodes", ())]
    digits = any(str(device["name"])[0].isdigit() for device in devices)
    return "0.5.0" if digits or any("hostPath" in node for node in nodes) else "0.3.0"


def _device(name: str, nodes: Sequence[str], root: Root) -> dict[str, object]:
    return {"name": device_name(name), "containerEdits": _edits(nodes, root)}


def _edits(nodes: Sequence[str], root: Root) -> dict[str, object]:
    unique = dict.fromkeys(nodes)
    return {"deviceNodes": [_node(node, root) for node in unique]} if unique else {}


def _node(path: str, root: Root) -> dict[str, object]:
    inside, host = root.inside(path), root.on_host(path)
    node: dict[str, object] = {"path": inside}
    if host != inside:
        node["hostPath"] = host
    return {**node, "permissions": "rw"}


def _mount(mount: Mount, root: Root) -> dict[str, object]:
    return {
        "hostPath": root.on_host(mount.path),
        "containerPath": root.inside(mount.path),
        "options": list(mount.options),
    }


def _hook(hook: Hook) -> dict[str, object]:
    written: dict[str, object] = {"hookName": str(hook.name), "path": hook.path}
    if hook.args:
        written["args"] = list(hook.args)
    if hook.env:
        written["env"] = list(hook.env)
    return written


def _common_edits(surroundings: Surroundings) -> dict[str, object]:
    # void keeps NVIDIA's own runtime, where it is installed too, from adding GPUs of its own
    edits: dict[str, object] = {"env": ["NVIDIA_VISIBLE_DEVICES=void"]}
    edits.update(_edits(sorted(surroundings.control_nodes), surroundings.dev_root))
    mounts = {m.path: _mount(m, surroundings.driver_root) for m in surroundings.mounts}
    if mounts:
        edits["mounts"] = [mounts[path] for path in sorted(mounts)]
    if surroundings.hooks:
        edits["hooks"] = [_hook(hook) for hook in surroundings.hooks]
    return edits


def _by_index(gpu: CdiGpu) -> tuple[list[int], str]:
    return [int(part) for part in gpu.index.split(":")], gpu.uuid


def _refuse_twins(names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise HardwareError(
            f"two GPUs are named {', '.join(twins)}, which CDI cannot tell apart; "
            "check nvidia-smi -L and restart the agent"
        )
