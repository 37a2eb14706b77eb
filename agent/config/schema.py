"""The shape of a configuration: every key of a file, with its default.

Keys are those of NVIDIA's device plugin configuration (``version: v1``), in the same
sections and spelling, plus a section ``plumbline`` of our own. Only shape and defaults
stand here; what may not be combined stands in ``agent.config.checks``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import field

from agent.config.own import Plumbline
from agent.config.section import AbsolutePath, AnnotationPrefix, Duration, OneOrMany, Section
from agent.config.sharing import Resources, Sharing


class MigStrategy(StrEnum):
    """How GPUs in MIG mode are offered."""

    NONE = "none"  # MIG is not looked at: whole GPUs only
    SINGLE = "single"  # MIG devices under the name of a GPU
    MIXED = "mixed"  # every MIG profile under a name of its own


MPS_FOLDER = "/run/nvidia/mps"
"""Where NVIDIA's charts have it; on memory, as what it is about ends with the boot."""


class DiscoveryStrategy(StrEnum):
    """Where GPUs are looked for."""

    AUTO = "auto"
    NVML = "nvml"
    TEGRA = "tegra"
    VFIO = "vfio"


class DeviceListStrategy(StrEnum):
    """How a container is told its GPUs; in the order in which they are always listed."""

    ENVVAR = "envvar"
    VOLUME_MOUNTS = "volume-mounts"
    CDI_ANNOTATIONS = "cdi-annotations"
    CDI_CRI = "cdi-cri"

    @property
    def is_cdi(self) -> bool:
        """True when the runtime resolves names in CDI specification files."""
        return self in {DeviceListStrategy.CDI_ANNOTATIONS, DeviceListStrategy.CDI_CRI}


class DeviceIdStrategy(StrEnum):
    """What a GPU is called towards the container runtime."""

    UUID = "uuid"
    INDEX = "index"


class SharedPolicy(StrEnum):
    """Which replicas of shared GPUs are preferred."""

    DISTRIBUTED = "distributed"  # each on the GPU with the lowest load
    PACKED = "packed"  # as few GPUs as can hold the request
    ALIGNED = "aligned"  # different GPUs that a job would be placed on; not known upstream


class PluginFlags(Section, frozen=True, kw_only=True):
    """``flags.plugin``: what only the device plugin reads."""

    pass_device_specs: bool = False
    """List device nodes in the answer to the kubelet as well: keeps GPUs in containers whose
    cgroup the CPU manager or systemd rewrites. Off, because CDI makes it unnecessary."""
    device_list_strategy: OneOrMany[DeviceListStrategy] = (DeviceListStrategy.ENVVAR,)
    """One or several. envvar, because every NVIDIA runtime understands it."""
    device_id_strategy: DeviceIdStrategy = field(
        default=DeviceIdStrategy.UUID, name="deviceIDStrategy"
    )
    """uuid, because an index changes meaning when a GPU falls off the bus."""
    cdi_annotation_prefix: AnnotationPrefix = "cdi.k8s.io/"
    """Before the key of the annotation that lists CDI devices; the one runtimes read."""
    nvidia_ctk_path: AbsolutePath = field(default="/usr/bin/nvidia-ctk", name="nvidiaCTKPath")
    """The hook program, as the container runtime on the host finds it."""
    container_driver_root: AbsolutePath = "/driver-root"
    """Where the agent's own container sees the host's driver installation."""
    shared_devices_allocation_policy: SharedPolicy = SharedPolicy.DISTRIBUTED
    """distributed, because the first tenants of a GPU then share with nobody."""

    def __post_init__(self) -> None:
        """Give strategies one order, so that equal choices are equal values."""
        ordered = tuple(s for s in DeviceListStrategy if s in self.device_list_strategy)
        msgspec.structs.force_setattr(self, "device_list_strategy", ordered)

    @property
    def uses_cdi(self) -> bool:
        """True when any chosen strategy needs CDI specification files."""
        return any(strategy.is_cdi for strategy in self.device_list_strategy)


class GfdFlags(Section, frozen=True, kw_only=True):
    """``flags.gfd``: feature discovery. Read and checked; nothing acts on it yet."""

    oneshot: bool = False
    """Label once and stop."""
    no_timestamp: bool = False
    """Leave the timestamp label out."""
    sleep_interval: Duration = 60.0
    """Seconds between two labellings; infinity for never again."""
    output_file: str = "/etc/kubernetes/node-feature-discovery/features.d/gfd"
    """Where labels are written; empty for standard output."""
    machine_type_file: AbsolutePath = "/sys/class/dmi/id/product_name"
    """Where the machine's name is read."""


class Flags(Section, frozen=True, kw_only=True):
    """``flags``: what the device plugin and feature discovery both read."""

    mig_strategy: MigStrategy = MigStrategy.NONE
    """none, because MIG changes the names that pods ask for."""
    fail_on_init_error: bool = True
    """End when there is no driver; otherwise wait for one and offer nothing."""
    mps_root: AbsolutePath | None = None
    """Host folder of the pipes and logs of MPS daemons; None is /run/nvidia/mps."""
    nvidia_driver_root: AbsolutePath = "/"
    """Where the host has the driver installed."""
    nvidia_dev_root: AbsolutePath | None = None
    """Where the host has the device nodes; None is the driver root."""
    gdrcopy_enabled: bool = False
    """Give GDRCopy to every container with GPUs."""
    gds_enabled: bool = False
    """Give GPUDirect Storage to every container with GPUs."""
    mofed_enabled: bool = False
    """Give RDMA device nodes to every container with GPUs."""
    use_node_feature_api: bool = field(default=True, name="useNodeFeatureAPI")
    """Publish labels as a NodeFeature object; nothing acts on it yet."""
    device_discovery_strategy: DiscoveryStrategy = DiscoveryStrategy.AUTO
    """auto and nvml are the same today."""
    plugin: PluginFlags = PluginFlags()
    gfd: GfdFlags = GfdFlags()

    @property
    def dev_root(self) -> str:
        """Return where the host has the device nodes."""
        return self.nvidia_dev_root or self.nvidia_driver_root

    @property
    def mps_folder(self) -> str:
        """Return where the host has the pipes and logs of MPS daemons."""
        return self.mps_root or MPS_FOLDER


class Imex(Section, frozen=True, kw_only=True):
    """``imex``: channels for memory shared between nodes over NVLink."""

    channel_ids: tuple[int, ...] = field(default=(), name="channelIDs")
    """``[]`` or ``[0]``: the device plugin API offers no way to hand out others safely."""
    required: bool = False
    """Fail rather than leave the channel out when its device node is missing."""


class Config(Section, frozen=True, kw_only=True):
    """Everything the operator may ask for. Compared by value."""

    version: Literal["v1"] = "v1"
    """A file without it is read as v1, as upstream does."""
    flags: Flags = Flags()
    resources: Resources = Resources()
    sharing: Sharing = Sharing()
    imex: Imex = Imex()
    plumbline: Plumbline = Plumbline()
