"""What a container is told of its GPUs: the contents of the answer to ``Allocate``. Pure.

Which strategy says what, and why combinations behave as they do, is explained to operators
in docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec import Struct

from agent.config.schema import DeviceIdStrategy, DeviceListStrategy, Flags
from agent.model.errors import HardwareError
from agent.model.mig_instance import Device, MigInstance, parent_of
from agent.planning.cdi import ALL, CdiClass, index_of, nodes_of, qualified_name
from agent.planning.mps_clients import Client, rendezvous_env, rendezvous_mounts

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
MOUNTED_LIST = "/var/run/nvidia-container-devices"
"""Where NVIDIA's runtime looks for devices named by mounts."""
ANNOTATION_NAME = "nvidia-device-plugin_"


class Mount(Struct, frozen=True, kw_only=True):
    """A path of the host, mounted into the container."""

    container_path: str
    host_path: str
    read_only: bool = True


class DeviceNode(Struct, frozen=True, kw_only=True):
    """A device node of the host, made in the container."""

    container_path: str
    host_path: str
    permissions: str = "rw"


class DeviceList(Struct, frozen=True, kw_only=True):
    """Everything the runtime must do for one container."""

    envs: dict[str, str]
    mounts: tuple[Mount, ...]
    device_nodes: tuple[DeviceNode, ...]
    annotations: dict[str, str]
    cdi_devices: tuple[str, ...]


class Offer(Struct, frozen=True, kw_only=True):
    """What the node has beside GPUs, as far as an answer depends on it."""

    control_nodes: Collection[str]
    """Inventory.control_nodes."""
    cdi_classes: Collection[CdiClass] = ()
    """Classes beside ``gpu`` that can be specified; those the flags enable are."""


def list_devices(
    devices: Iterable[Device],
    flags: Flags,
    offer: Offer,
    *,
    request_id: Callable[[], str],
    client: Client | None = None,
) -> DeviceList:
    """Return the answer for a container that gets these devices; each counts once.

    ``client`` is what it needs to share them through MPS.
    ``request_id`` returns what makes the annotation key unique, a UUID; called where there is one.
    Raises HardwareError when a device has to be given by its device nodes and lacks one.
    """
    chosen = _possible({device.uuid: device for device in devices}.values(), flags)
    strategies = flags.plugin.device_list_strategy
    names = _names(chosen, flags.plugin.device_id_strategy)
    mounted = DeviceListStrategy.VOLUME_MOUNTS in strategies
    cdi_names = _cdi_names(chosen, names, flags, offer) if flags.plugin.uses_cdi else ()
    by_cdi = _only_cdi(flags)
    if client is not None and by_cdi:
        cdi_names = (*cdi_names, qualified_name(CdiClass.MPS, client.gpu))
    met = None if client is None or by_cdi else client.rendezvous
    annotated = DeviceListStrategy.CDI_ANNOTATIONS in strategies
    return DeviceList(
        envs={
            **_envs(names, flags),
            **(rendezvous_env(met) if met else {}),
            **(client.limits if client else {}),
        },
        mounts=(
            *(_mount(name) for name in names if mounted),
            *(_folder(*each) for each in (rendezvous_mounts(met).items() if met else ())),
        ),
        device_nodes=_device_nodes(chosen, flags, offer),
        annotations=_annotation(cdi_names, flags, request_id()) if annotated and cdi_names else {},
        cdi_devices=cdi_names if DeviceListStrategy.CDI_CRI in strategies else (),
    )


def enabled_features(flags: Flags) -> list[CdiClass]:
    """Return what every container with GPUs is to get beside them."""
    wanted = {
        CdiClass.GDS: flags.gds_enabled,
        CdiClass.MOFED: flags.mofed_enabled,
        CdiClass.GDRCOPY: flags.gdrcopy_enabled,
    }
    return [feature for feature, enabled in wanted.items() if enabled]


def obstacle(device: Device, flags: Flags) -> str | None:
    """Return why a device cannot be given to a container under these flags; None when it can."""
    by_node = flags.plugin.uses_cdi or flags.plugin.pass_device_specs
    if not by_node:
        return None
    gpu = parent_of(device)
    if gpu.device_node is None:
        return (
            f"GPU {gpu.uuid} has no device node: the driver gives it no minor number; "
            "check dmesg and nvidia-smi on the node"
        )
    if isinstance(device, MigInstance) and None in device.access:
        return (
            f"MIG instance {device.uuid} has no capability node in /dev/nvidia-caps: "
            "nvidia-smi, run as root on the node, makes what is missing"
        )
    return None


def _possible(devices: Iterable[Device], flags: Flags) -> list[Device]:
    """Return the devices in the order of the node. Raises HardwareError for an obstacle."""
    ordered = sorted(devices, key=_by_index)
    for device in ordered:
        if (reason := obstacle(device, flags)) is not None:
            raise HardwareError(reason)
    return ordered


def _by_index(device: Device) -> tuple[int, int, str]:
    within = device.index if isinstance(device, MigInstance) else None
    return parent_of(device).index, -1 if within is None else within, device.uuid


def _names(devices: Sequence[Device], strategy: DeviceIdStrategy) -> tuple[str, ...]:
    by_uuid = strategy is DeviceIdStrategy.UUID
    return tuple(device.uuid if by_uuid else index_of(device) for device in devices)


def _envs(names: Sequence[str], flags: Flags) -> dict[str, str]:
    envs: dict[str, str] = {}
    strategies = flags.plugin.device_list_strategy
    if not names and not _only_cdi(flags):
        envs[VISIBLE_DEVICES] = "void"  # not empty: an empty list is overruled by the image's own
    elif DeviceListStrategy.ENVVAR in strategies:
        # beside volume-mounts too: a runtime that reads mounts prefers them and one that does
        # not still finds the GPUs here
        envs[VISIBLE_DEVICES] = ",".join(names)
    elif DeviceListStrategy.VOLUME_MOUNTS in strategies:
        envs[VISIBLE_DEVICES] = MOUNTED_LIST
    for feature in enabled_features(flags):
        envs[f"NVIDIA_{feature.upper()}"] = "enabled"
    return envs


def _mount(name: str) -> Mount:
    return Mount(container_path=f"{MOUNTED_LIST}/{name}", host_path="/dev/null", read_only=False)


def _folder(inside: str, host: str) -> Mount:
    return Mount(container_path=inside, host_path=host, read_only=False)


def _device_nodes(devices: Sequence[Device], flags: Flags, offer: Offer) -> tuple[DeviceNode, ...]:
    if not flags.plugin.pass_device_specs or _only_cdi(flags):
        return ()
    own = [node for device in devices for node in nodes_of(device)]
    paths = [*sorted(offer.control_nodes), *own] if devices else []
    root = flags.dev_root.rstrip("/")
    return tuple(
        DeviceNode(container_path=path, host_path=root + path) for path in dict.fromkeys(paths)
    )


def _cdi_names(
    devices: Sequence[Device], names: Sequence[str], flags: Flags, offer: Offer
) -> tuple[str, ...]:
    extra = [feature for feature in enabled_features(flags) if feature in offer.cdi_classes]
    return (
        *(qualified_name(CdiClass.GPU, name) for name in names),
        *(qualified_name(feature, ALL) for feature in extra if devices),
    )


def _annotation(cdi_names: Sequence[str], flags: Flags, request_id: str) -> dict[str, str]:
    key = flags.plugin.cdi_annotation_prefix + ANNOTATION_NAME + request_id
    return {key: ",".join(cdi_names)}


def _only_cdi(flags: Flags) -> bool:
    return all(strategy.is_cdi for strategy in flags.plugin.device_list_strategy)
