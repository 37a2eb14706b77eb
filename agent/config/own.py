"""``plumbline``: the section of keys that upstream does not have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.config.gpu_names import GpuNames
from agent.config.mig import Mig
from agent.config.section import AbsolutePath, Section
from agent.config.sharing import ResourceName, full_name

Xid = Annotated[int, Meta(ge=0, le=2**32 - 1, description="an Xid, a whole number")]
XidSelector = Xid | Literal["all", "xids"]
"""One Xid, or every one; both words mean the same, as upstream."""

DEFAULT_IGNORED_XIDS = (13, 31, 43, 45, 68, 109)
"""Errors of the application, not of the GPU: graphics engine exception, memory page fault,
stopped processing, preemptive cleanup, video processor exception, context switch timeout."""


class LogLevel(StrEnum):
    """The least severe message that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a message is written: for people or for a log store."""

    TEXT = "text"
    JSON = "json"


class Log(Section, frozen=True, kw_only=True):
    """``plumbline.log``."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.TEXT


class Cdi(Section, frozen=True, kw_only=True):
    """``plumbline.cdi``. The hook program is ``flags.plugin.nvidiaCTKPath``, as upstream."""

    spec_dir: AbsolutePath = "/var/run/cdi"
    """Where runtimes look for specifications of devices that come and go with a boot."""
    feature_flags: tuple[str, ...] = ()
    """Names of upstream's optional CDI features."""
    disable_hooks: tuple[str, ...] = ()
    """Hooks left out of specifications; ``all`` for every one."""


class HealthChecks(Section, frozen=True, kw_only=True):
    """``plumbline.health``."""

    disable: tuple[XidSelector, ...] = ()
    """Xids that do not make a GPU unhealthy, beside ``ignoredXids``."""
    enable: tuple[XidSelector, ...] = ()
    """Xids that do, whatever else says they do not."""
    poll_seconds: Annotated[
        float, Meta(ge=0.1, le=3600, description="a number of seconds from 0.1 to 3600")
    ] = 1.0
    """Seconds between two looks at what has no event: a GPU that stops answering, a changed
    MIG mode. 1, so that the kubelet knows within two; a look costs microseconds."""


LOCAL_SOCKET = "/run/plumbline/agent.sock"


class PlacementPolicy(StrEnum):
    """What counts first when GPUs are chosen (docs/placement.md)."""

    DEFAULT = "default"
    NUMA_FIRST = "numa-first"
    RDMA = "rdma"
    PACK = "pack"
    SPREAD = "spread"


class ResourcePolicy(Section, frozen=True, kw_only=True):
    """One resource whose GPUs are chosen by a policy of its own."""

    name: ResourceName
    policy: PlacementPolicy


class PlacementRules(Section, frozen=True, kw_only=True):
    """``plumbline.placement``."""

    policy: PlacementPolicy = PlacementPolicy.DEFAULT
    """For every resource that ``resources`` does not name."""
    resources: tuple[ResourcePolicy, ...] = ()

    def policy_of(self, resource: str) -> PlacementPolicy:
        """Return the policy for a resource, by its full name."""
        own = (each.policy for each in self.resources if full_name(each.name) == resource)
        return next(own, self.policy)


class Nics(Section, frozen=True, kw_only=True):
    """``plumbline.nics``: NICs given together with GPUs."""

    enabled: bool = False
    """Off: a container gets RDMA devices by other means, or none."""
    per_gpu: Annotated[int, Meta(ge=1, le=8, description="a whole number from 1 to 8")] = 1
    """How many NICs each GPU should have."""
    shared: bool = True
    """Give a NIC that other containers have where no other is left: RDMA devices can be shared,
    and a slower NIC is more than none."""
    summary_dir: AbsolutePath = "/var/lib/plumbline/allocations"
    """Host folder of the summaries that containers find at /run/plumbline/topology.json. On
    disk: a container that starts again after a reboot mounts the same file."""


ListenAddress = Annotated[
    str,
    Meta(
        pattern=r"^([^\s:\[\]]*|\[[0-9a-fA-F:.]+\]):"
        r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])\Z",
        description="an address to listen at, as in :9400, 127.0.0.1:9400 or [::1]:9400",
    ),
]


class MetricsRules(Section, frozen=True, kw_only=True):
    """``plumbline.metrics``."""

    listen: ListenAddress | None = None
    """None: no metrics, and no memory for them."""


class ServingMode(StrEnum):
    """Through which of the kubelet's doors GPUs are given."""

    DEVICE_PLUGIN = "device-plugin"
    DRA = "dra"
    SPLIT = "split"  # those that plumbline.dra.gpus selects through DRA, the others not


class TaintEffect(StrEnum):
    """What becomes of claims for a device that is not well."""

    NO_SCHEDULE = "NoSchedule"  # no claim is allocated it
    NO_EXECUTE = "NoExecute"  # and pods that have it are evicted


class ClaimedMig(StrEnum):
    """Which MigInstances claims can have."""

    EXISTING = "existing"  # those that somebody made
    DYNAMIC = "dynamic"  # and any that a GPU has room for, made for a claim and gone with it


class Cell(StrEnum):
    """GPUs that are claimed as one."""

    PAIR = "pair"
    QUAD = "quad"
    OCTET = "octet"


ShareCount = Annotated[int, Meta(ge=2, le=1024, description="a whole number from 2 to 1024")]
Shares = ShareCount | Literal["disabled", "memory", "unlimited"]
"""How many claims can have one GPU at once: one; as many as its memory suffices for; any number; so
many."""


class Dra(Section, frozen=True, kw_only=True):
    """``plumbline.dra``."""

    taint_effect: TaintEffect = TaintEffect.NO_SCHEDULE
    """NoSchedule: a pod may be able to save its work before it ends by itself."""
    gpus: GpuNames | None = None
    """In mode split: which GPUs are given through DRA."""
    mig: ClaimedMig = ClaimedMig.EXISTING
    """existing, because a GPU that claims divide anew can be nobody else's to divide."""
    shares: Shares = "disabled"
    """disabled, because claims that share a GPU see each other's load."""
    cells: tuple[Cell, ...] = ()
    """None, because claims for all GPUs of a node then count cells as well."""
    orphan_seconds: Annotated[
        float, Meta(ge=1, le=86400, description="a number of seconds from 1 to 86400")
    ] = 600.0
    """How long a claim's object must be gone, and no pod have it, until the claim is given back
    without the kubelet. 600: a kubelet that can will have done it itself by then."""
    nics: bool = False
    """Off: another driver may offer the node's NICs already."""
    metadata: bool = False
    """Off, as with other drivers: it is one more mount in every container (KEP-5304)."""


class Plumbline(Section, frozen=True, kw_only=True):
    """``plumbline``."""

    ignored_xids: tuple[Xid, ...] = DEFAULT_IGNORED_XIDS
    """Xids that say nothing about the GPU's health."""
    locality_file: AbsolutePath | None = None
    """Distances that contradict sysfs; None is etc/plumbline/locality.yaml of the machine."""
    log: Log = Log()
    cdi: Cdi = Cdi()
    health: HealthChecks = HealthChecks()
    placement: PlacementRules = PlacementRules()
    nics: Nics = Nics()
    metrics: MetricsRules = MetricsRules()
    mig: Mig = Mig()
    mode: ServingMode = ServingMode.DEVICE_PLUGIN
    dra: Dra = Dra()
    socket: AbsolutePath | None = LOCAL_SOCKET
    """Where `plumbline explain` asks the running agent; None: nowhere."""

    def __post_init__(self) -> None:
        """Give Xids one order, so that equal choices are equal values."""
        msgspec.structs.force_setattr(self, "ignored_xids", tuple(sorted(set(self.ignored_xids))))
