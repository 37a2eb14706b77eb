"""CDI specifications for GPUs, as plain dicts: what a container runtime adds to a container.

Keys and rules are those of the Container Device Interface specification
(github.com/cncf-tags/container-device-interface, SPEC.md). Discovering driver libraries and
hooks is somebody else's job; they come in as values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from agent.model.errors import HardwareError
from agent.model.inventory import FeatureNodes, Gpu
from agent.model.mig_instance import Device, MigInstance, parent_of, whole_and_parts
from agent.model.mig_names import MigSuffix
from agent.planning.mps import Rendezvous
from agent.planning.mps_clients import rendezvous_env, rendezvous_mounts

VENDOR = "k8s.device-plugin.nvidia.com"
"""Upstream's, so that one agent can take over from the other on a node."""

ALL = "all"
"""The device that is every device of a class."""

# void keeps NVIDIA's own runtime, where it is installed too, from adding GPUs of its own
_NO_OTHER_GPUS = "NVIDIA_VISIBLE_DEVICES=void"

_INVALID_IN_NAME = re.compile(r"[^A-Za-z0-9_.:-]")
_NOT_ALPHANUMERIC = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+\Z")


class CdiClass(StrEnum):
    """Classes of devices under our vendor, each in a file of its own."""

    GPU = "gpu"
    GDS = "gds"
    MOFED = "mofed"
    GDRCOPY = "gdrcopy"
    MPS = "mps"


class HookName(StrEnum):
    """Points of a container's life at which OCI runtimes call hooks."""

    CREATE_RUNTIME = "createRuntime"
    CREATE_CONTAINER = "createContainer"
    START_CONTAINER = "startContainer"
    POSTSTART = "poststart"
    POSTSTOP = "poststop"


class Mount(Struct, frozen=True, kw_only=True):
    """A file or folder of the driver that the container needs; read-only."""

    path: str
    """As the agent sees it, below its driver root."""
    options: tuple[str, ...] = ("ro", "nosuid", "nodev", "rbind", "rprivate")


class Hook(Struct, frozen=True, kw_only=True):
    """A program that the runtime calls."""

    name: HookName
    path: str
    """As the host's runtime finds it."""
    args: tuple[str, ...] = ()
    """With the program's own name first."""
    env: tuple[str, ...] = ()


class Root(Struct, frozen=True, kw_only=True):
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


class CdiGpu(Struct, frozen=True, kw_only=True):
    """One GPU, or part of one, and the device nodes it is used through."""

    uuid: str
    index: str
    """``i``, or ``i:j`` for a MIG device."""
    nodes: tuple[str, ...]
    """As the agent sees them, below its device root."""


class ClaimedDevice(Struct, frozen=True, kw_only=True):
    """What a claim has, and what a container gets for it."""

    name: str
    nodes: tuple[str, ...]
    env: Mapping[str, str]
    mounts: Mapping[str, str]
    """Paths of the host, which can be written to, by those of the container."""
    files: Mapping[str, str]
    """Files of the host that can only be read, by their paths in the container."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """What every container gets beside its own devices, and where things are."""

    control_nodes: tuple[str, ...] = ()
    """For GPUs Inventory.control_nodes."""
    env: tuple[str, ...] = (_NO_OTHER_GPUS,)
    dev_root: Root = Root()
    driver_root: Root = Root()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()


def cdi_gpu(device: Device) -> CdiGpu | None:
    """Return a GPU or a part of it as CDI offers it; None when one of its nodes is not known."""
    gpu = parent_of(device)
    if gpu.device_node is None:
        return None
    if not isinstance(device, MigInstance):
        nodes = (gpu.device_node, *gpu.drm_nodes)
    elif None in device.access:
        return None
    else:
        # Only instances that can do graphics have a use for the graphics nodes.
        drawing = device.profile.suffix is MigSuffix.GRAPHICS
        nodes = (*nodes_of(device), *(gpu.drm_nodes if drawing else ()))
    return CdiGpu(uuid=device.uuid, index=index_of(device), nodes=nodes)


def cdi_gpus(gpus: Iterable[Gpu]) -> list[CdiGpu]:
    """Return GPUs and their MigInstances as CDI offers them, those that it can."""
    devices = (device for gpu in gpus for device in whole_and_parts(gpu))
    return [found for device in devices if (found := cdi_gpu(device)) is not None]


def index_of(device: Device) -> str:
    """Return what a device is called under ``deviceIDStrategy: index``: ``i``, or ``i:j``."""
    if isinstance(device, MigInstance):
        return f"{device.parent.index}:{device.index}"
    return str(device.index)


def nodes_of(device: Device) -> tuple[str, ...]:
    """Return the device nodes a program opens for a device, those that are known.

    A MigInstance is used through the node of its GPU, once its capability nodes can be opened.
    """
    access = device.access if isinstance(device, MigInstance) else ()
    nodes = (parent_of(device).device_node, *access)
    return tuple(node for node in nodes if node is not None)


def qualified_name(cdi_class: CdiClass, name: str) -> str:
    """Return what a runtime is asked for: ``vendor/class=name``."""
    return f"{kind(cdi_class)}={device_name(name)}"


def kind(cdi_class: CdiClass) -> str:
    """Return what a specification of a class says it is: ``vendor/class``."""
    return f"{VENDOR}/{cdi_class}"


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
    gpus: Iterable[CdiGpu], surroundings: Surroundings, *, departed: Iterable[CdiGpu] = ()
) -> dict[str, object] | None:
    """Return the specification of class ``gpu``; None without GPUs, which CDI cannot express.

    Every GPU, and every part of one, is a device under its UUID and under its index, whatever
    the strategy in force: a container keeps the name it was given under an earlier one. GPUs
    that ``departed``
    (latest first) keep their names too, but take none from a GPU that answers. ``all`` is
    every GPU that answers, and only when none does, those that departed.
    Equal GPUs give an equal document whatever order they come in.
    Raises HardwareError when two GPUs have the same UUID.
    """
    present = sorted(gpus, key=_by_index)
    _refuse_twins([device_name(gpu.uuid) for gpu in present])
    gone = list(_still_nameable(departed, present))
    if not present and not gone:
        return None
    root = surroundings.dev_root
    named: dict[str, Sequence[str]] = {}
    for gpu in (*present, *gone):
        named[device_name(gpu.uuid)] = gpu.nodes
    for gpu in (*present, *gone):
        named.setdefault(device_name(gpu.index), gpu.nodes)
    named[ALL] = [node for gpu in present or gone for node in gpu.nodes]
    devices = [_device(name, nodes, root) for name, nodes in named.items()]
    return _document(CdiClass.GPU, devices, _common_edits(surroundings))


def claim_spec(
    kind_: str, devices: Iterable[ClaimedDevice], surroundings: Surroundings
) -> dict[str, object]:
    """Return a specification of a kind of its own with these devices."""
    root = surroundings.dev_root
    listed = [_claimed_device(each, root) for each in devices]
    common = _common_edits(surroundings)
    document: dict[str, object] = {
        "cdiVersion": _minimum_version(listed, common),
        "kind": kind_,
        "devices": listed,
    }
    if common:
        document["containerEdits"] = common
    return document


def is_stale(names: Collection[str], gpus: Iterable[Gpu]) -> bool:
    """Return True when a ``gpu`` specification with these device names is of other GPUs.

    UUIDs decide where it has any; indices are the same on every node.
    """
    uuids = [name for name in names if name.startswith(("GPU-", "MIG-"))]
    known = {ALL}
    for gpu in gpus:
        for device in whole_and_parts(gpu):
            known |= {device_name(device.uuid), index_of(device)}
    return not known.intersection(uuids or names)


def feature_nodes(found: FeatureNodes) -> dict[CdiClass, tuple[str, ...]]:
    """Return the device nodes of every class beside ``gpu`` that the node has any of."""
    nodes = {
        CdiClass.GDS: found.gds,
        CdiClass.MOFED: found.mofed,
        CdiClass.GDRCOPY: found.gdrcopy,
    }
    return {cdi_class: paths for cdi_class, paths in nodes.items() if paths}


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


def mps_spec(rendezvous: Mapping[str, Rendezvous]) -> dict[str, object] | None:
    """Return the specification of class ``mps``: how to reach the daemon that serves a GPU.

    ``rendezvous`` has it by UUID. None when no GPU is shared through MPS.
    """
    devices = [_mps_device(uuid, rendezvous) for uuid, rendezvous in sorted(rendezvous.items())]
    return _document(CdiClass.MPS, devices, {}) if devices else None


def encode(document: dict[str, object]) -> bytes:
    """Return a document as the bytes of its file: equal documents, equal bytes."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _document(
    cdi_class: CdiClass, devices: list[dict[str, object]], common: dict[str, object]
) -> dict[str, object]:
    document: dict[str, object] = {
        "cdiVersion": "",
        "kind": kind(cdi_class),
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


def _mps_device(uuid: str, rendezvous: Rendezvous) -> dict[str, object]:
    edits = _surrounding_edits(rendezvous_env(rendezvous), rendezvous_mounts(rendezvous))
    return {"name": device_name(uuid), "containerEdits": edits}


def _claimed_device(device: ClaimedDevice, root: Root) -> dict[str, object]:
    edits = _edits(device.nodes, root) | _surrounding_edits(device.env, device.mounts, device.files)
    return {"name": device_name(device.name), "containerEdits": edits}


def _surrounding_edits(
    env: Mapping[str, str],
    mounts: Mapping[str, str],
    files: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, object]:
    edits: dict[str, object] = {}
    if env:
        edits["env"] = [f"{name}={value}" for name, value in env.items()]
    if mounts or files:
        safe = ["nosuid", "nodev", "rbind"]
        edits["mounts"] = [
            {"hostPath": host, "containerPath": inside, "options": [access, *safe]}
            for access, paths in (("rw", mounts), ("ro", files))
            for inside, host in paths.items()
        ]
    return edits


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
    edits: dict[str, object] = {"env": list(surroundings.env)} if surroundings.env else {}
    edits.update(_edits(sorted(surroundings.control_nodes), surroundings.dev_root))
    mounts = {m.path: _mount(m, surroundings.driver_root) for m in surroundings.mounts}
    if mounts:
        edits["mounts"] = [mounts[path] for path in sorted(mounts)]
    if surroundings.hooks:
        edits["hooks"] = [_hook(hook) for hook in surroundings.hooks]
    return edits


def _still_nameable(departed: Iterable[CdiGpu], present: Sequence[CdiGpu]) -> Iterator[CdiGpu]:
    """Yield the departed GPUs whose names lead to nobody else's GPU, each once."""
    # Numbers of device nodes are given anew when the driver is loaded anew: the name of the
    # GPU that had the node before must not open the one that has it now.
    taken = {node for gpu in present for node in gpu.nodes}
    seen = {device_name(gpu.uuid) for gpu in present}
    for gpu in departed:
        name = device_name(gpu.uuid)
        if name not in seen and taken.isdisjoint(gpu.nodes):
            seen.add(name)
            yield gpu


def _by_index(gpu: CdiGpu) -> tuple[list[int], str]:
    return [int(part) for part in gpu.index.split(":")], gpu.uuid


def _refuse_twins(names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise HardwareError(
            f"two GPUs are named {', '.join(twins)}, which CDI cannot tell apart; "
            "check nvidia-smi -L and restart the agent"
        )
