"""The table of settings: one row for every key, with its flags, environment names and help.

Parser, environment, help, documentation and ``--print-config`` are all read off this table;
type and default of a row are those of its field in the schema.
"""

from __future__ import annotations

from msgspec import Struct

from agent.config.tree import RUN


class Setting(Struct, frozen=True, kw_only=True):
    """One thing the operator can set."""

    path: str
    """Keys from the top of the file, joined by dots."""
    help: str
    flags: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Environment variables; the first that is set wins."""
    metavar: str = ""
    """What stands for the value in the help; empty: as its type suggests."""
    empty_counts: bool = False
    """True when an empty environment variable is a value, not the absence of one."""

    @property
    def in_file(self) -> bool:
        """True when a configuration file can hold it."""
        return not self.path.startswith(RUN)


def _row(
    path: str, flags: str, env: str, text: str, *, metavar: str = "", empty_counts: bool = False
) -> Setting:
    return Setting(
        path=path,
        flags=tuple(flags.split()),
        env=tuple(env.split()),
        help=text,
        metavar=metavar,
        empty_counts=empty_counts,
    )


SETTINGS: tuple[Setting, ...] = (
    _row("version", "", "", "Version of the file's format."),
    # flags
    _row(
        "flags.migStrategy",
        "--mig-strategy",
        "MIG_STRATEGY",
        "How GPUs in MIG mode are offered.",
    ),
    _row(
        "flags.failOnInitError",
        "--fail-on-init-error",
        "FAIL_ON_INIT_ERROR",
        "Exit when the driver cannot be reached at start; if false, wait for it.",
    ),
    _row(
        "flags.mpsRoot",
        "--mps-root",
        "MPS_ROOT",
        "Host folder of the pipes and logs of MPS daemons; unset means /run/nvidia/mps.",
        metavar="DIR",
    ),
    _row(
        "flags.nvidiaDriverRoot",
        "--nvidia-driver-root --driver-root",
        "NVIDIA_DRIVER_ROOT",
        "Where the host has the driver installed: / or, with a driver container, "
        "/run/nvidia/driver.",
        metavar="DIR",
    ),
    _row(
        "flags.nvidiaDevRoot",
        "--nvidia-dev-root --dev-root",
        "NVIDIA_DEV_ROOT",
        "Where the host has the device nodes; unset means the driver root.",
        metavar="DIR",
    ),
    _row(
        "flags.gdrcopyEnabled",
        "--gdrcopy-enabled",
        "GDRCOPY_ENABLED",
        "Give GDRCopy to every container with GPUs.",
    ),
    _row(
        "flags.gdsEnabled",
        "--gds-enabled",
        "GDS_ENABLED",
        "Give GPUDirect Storage to every container with GPUs.",
    ),
    _row(
        "flags.mofedEnabled",
        "--mofed-enabled",
        "MOFED_ENABLED",
        "Give RDMA device nodes to every container with GPUs.",
    ),
    _row("flags.useNodeFeatureAPI", "", "", "Publish labels as a NodeFeature object."),
    _row(
        "flags.deviceDiscoveryStrategy",
        "--device-discovery-strategy",
        "DEVICE_DISCOVERY_STRATEGY",
        "Where GPUs are looked for.",
    ),
    # flags.plugin
    _row(
        "flags.plugin.passDeviceSpecs",
        "--pass-device-specs",
        "PASS_DEVICE_SPECS",
        "Name the device nodes to the kubelet as well, so that a rewritten cgroup keeps them.",
    ),
    _row(
        "flags.plugin.deviceListStrategy",
        "--device-list-strategy",
        "DEVICE_LIST_STRATEGY",
        "How a container is told its GPUs; several may be given.",
    ),
    _row(
        "flags.plugin.deviceIDStrategy",
        "--device-id-strategy",
        "DEVICE_ID_STRATEGY",
        "What a GPU is called towards the container runtime.",
    ),
    _row(
        "flags.plugin.cdiAnnotationPrefix",
        "--cdi-annotation-prefix",
        "CDI_ANNOTATION_PREFIX",
        "Beginning of the annotation key under cdi-annotations.",
        metavar="PREFIX",
    ),
    _row(
        "flags.plugin.nvidiaCTKPath",
        "--nvidia-cdi-hook-path --nvidia-ctk-path",
        "NVIDIA_CDI_HOOK_PATH NVIDIA_CTK_PATH",
        "Program that CDI hooks run, as the host's runtime finds it.",
        metavar="FILE",
    ),
    _row(
        "flags.plugin.containerDriverRoot",
        "--container-driver-root --driver-root-ctr-path",
        "DRIVER_ROOT_CTR_PATH CONTAINER_DRIVER_ROOT",
        "Where the agent's own container sees the host's driver installation.",
        metavar="DIR",
    ),
    _row(
        "flags.plugin.sharedDevicesAllocationPolicy",
        "--shared-devices-allocation-policy",
        "SHARED_DEVICES_ALLOCATION_POLICY",
        "Spread containers over shared GPUs, or fill one GPU first.",
    ),
    # flags.gfd
    _row("flags.gfd.oneshot", "", "", "Label once and stop."),
    _row("flags.gfd.noTimestamp", "", "", "Leave the timestamp label out."),
    _row("flags.gfd.sleepInterval", "", "", "Time between two labellings."),
    _row("flags.gfd.outputFile", "", "", "Where labels are written; empty for standard output."),
    _row("flags.gfd.machineTypeFile", "", "", "Where the machine's name is read."),
    # resources, sharing, imex
    _row("resources.gpus", "", "", "Resource names by product name pattern."),
    _row("resources.mig", "", "", "Resource names by MIG profile pattern."),
    _row("sharing.timeSlicing", "", "", "Resources whose devices take turns."),
    _row("sharing.mps", "", "", "Resources whose devices are shared through MPS."),
    _row(
        "imex.channelIDs",
        "--imex-channel-ids",
        "IMEX_CHANNEL_IDS",
        "IMEX channels given to every container with GPUs: none, or 0.",
        metavar="ID[,...]",
    ),
    _row(
        "imex.required",
        "--imex-required",
        "IMEX_REQUIRED",
        "Fail when an IMEX channel has no device node, rather than leave it out.",
    ),
    # plumbline
    _row(
        "plumbline.ignoredXids",
        "--ignored-xids",
        "PLUMBLINE_IGNORED_XIDS",
        "Xids that say nothing about a GPU's health.",
        metavar="XID[,...]",
    ),
    _row(
        "plumbline.localityFile",
        "--locality-file",
        "PLUMBLINE_LOCALITY_FILE",
        "Distances that contradict sysfs; unset means etc/plumbline/locality.yaml.",
        metavar="FILE",
    ),
    _row("plumbline.log.level", "--log-level", "PLUMBLINE_LOG_LEVEL", "Least severe message."),
    _row("plumbline.log.format", "--log-format", "PLUMBLINE_LOG_FORMAT", "Form of messages."),
    _row(
        "plumbline.cdi.specDir",
        "--cdi-spec-dir",
        "PLUMBLINE_CDI_SPEC_DIR",
        "Folder in which CDI specification files are written.",
        metavar="DIR",
    ),
    _row(
        "plumbline.cdi.featureFlags",
        "--cdi-feature-flags",
        "CDI_FEATURE_FLAGS",
        "Optional features of CDI specifications.",
        metavar="NAME[,...]",
    ),
    _row(
        "plumbline.cdi.disableHooks",
        "--cdi-disable-hooks",
        "CDI_DISABLE_HOOKS",
        "Hooks left out of CDI specifications; all for every one.",
        metavar="NAME[,...]",
    ),
    _row(
        "plumbline.health.disable",
        "--disable-healthchecks",
        "DP_DISABLE_HEALTHCHECKS",
        "Further Xids that do not make a GPU unhealthy; all (or xids) for every one.",
        metavar="XID[,...]",
    ),
    _row(
        "plumbline.health.enable",
        "--enable-healthchecks",
        "DP_ENABLE_HEALTHCHECKS",
        "Xids that do, even if ignored or disabled; all for every one.",
        metavar="XID[,...]",
    ),
    _row(
        "plumbline.health.pollSeconds",
        "--health-poll-seconds",
        "PLUMBLINE_HEALTH_POLL_SECONDS",
        "Seconds between two looks at the GPUs' health.",
        metavar="SECONDS",
    ),
    _row(
        "plumbline.placement.policy",
        "--placement-policy",
        "PLUMBLINE_PLACEMENT_POLICY",
        "What counts first when GPUs are chosen.",
    ),
    _row(
        "plumbline.placement.resources",
        "",
        "",
        "Resources with a placement policy of their own.",
    ),
    _row(
        "plumbline.nics.enabled",
        "--nics-enabled",
        "PLUMBLINE_NICS_ENABLED",
        "Give a container the NICs beside its GPUs.",
    ),
    _row(
        "plumbline.nics.perGpu",
        "--nics-per-gpu",
        "PLUMBLINE_NICS_PER_GPU",
        "How many NICs each GPU should have.",
        metavar="COUNT",
    ),
    _row(
        "plumbline.nics.shared",
        "--nics-shared",
        "PLUMBLINE_NICS_SHARED",
        "Give a NIC that other containers have where no other is left.",
    ),
    _row(
        "plumbline.nics.summaryDir",
        "--nics-summary-dir",
        "PLUMBLINE_NICS_SUMMARY_DIR",
        "Host folder of the summaries that containers find at /run/plumbline/topology.json.",
        metavar="DIR",
    ),
    _row(
        "plumbline.metrics.listen",
        "--metrics-listen",
        "PLUMBLINE_METRICS_LISTEN",
        "Address at which Prometheus finds metrics; unset means none.",
        metavar="[HOST]:PORT",
    ),
    _row(
        "plumbline.mig.layout",
        "--mig-layout",
        "PLUMBLINE_MIG_LAYOUT",
        "The layout that GPUs are to have; unset means they are left as they are.",
        metavar="NAME",
    ),
    _row("plumbline.mig.layouts", "", "", "Layouts by name: what GPUs are divided into."),
    _row(
        "plumbline.mig.file",
        "--mig-file",
        "PLUMBLINE_MIG_FILE",
        "A file of mig-parted with more layouts.",
        metavar="FILE",
    ),
    _row(
        "plumbline.mig.allowReset",
        "--mig-allow-reset",
        "PLUMBLINE_MIG_ALLOW_RESET",
        "Reset a GPU where its MIG mode changes no other way.",
    ),
    _row(
        "plumbline.mig.evict",
        "--mig-evict",
        "PLUMBLINE_MIG_EVICT",
        "End pods that hold what a layout takes away.",
    ),
    _row(
        "plumbline.mig.drainDeadline",
        "--mig-drain-deadline",
        "PLUMBLINE_MIG_DRAIN_DEADLINE",
        "How long to wait for such pods before the change is given up.",
        metavar="DURATION",
    ),
    _row(
        "plumbline.mode",
        "--mode",
        "PLUMBLINE_MODE",
        "Through which of the kubelet's doors GPUs are given.",
    ),
    _row(
        "plumbline.dra.taintEffect",
        "--dra-taint-effect",
        "PLUMBLINE_DRA_TAINT_EFFECT",
        "What becomes of claims for a GPU that is not well.",
    ),
    _row("plumbline.dra.gpus", "", "", "In mode split: which GPUs are given through DRA."),
    _row(
        "plumbline.dra.mig",
        "--dra-mig",
        "PLUMBLINE_DRA_MIG",
        "Which MIG instances claims can have: those that are there, or any that fits.",
    ),
    _row(
        "plumbline.dra.shares",
        "--dra-shares",
        "PLUMBLINE_DRA_SHARES",
        "How many claims can have one GPU at once; memory for as many as it suffices for.",
    ),
    _row(
        "plumbline.dra.cells",
        "--dra-cells",
        "PLUMBLINE_DRA_CELLS",
        "GPUs that belong together and can be claimed as one.",
    ),
    _row(
        "plumbline.dra.orphanSeconds",
        "--dra-orphan-seconds",
        "PLUMBLINE_DRA_ORPHAN_SECONDS",
        "How long a claim must be gone until what is prepared for it is given back unasked.",
    ),
    _row(
        "plumbline.dra.nics",
        "--dra-nics",
        "PLUMBLINE_DRA_NICS",
        "Serve the node's RDMA NICs to claims as well, as driver nic.plumbline.dev.",
    ),
    _row(
        "plumbline.dra.metadata",
        "--dra-metadata",
        "PLUMBLINE_DRA_METADATA",
        "Tell containers about the devices of their claims, in files (KEP-5304).",
    ),
    _row(
        "plumbline.socket",
        "--socket",
        "PLUMBLINE_SOCKET",
        "Socket on which the running agent answers plumbline explain; empty for none.",
        metavar="FILE",
        empty_counts=True,
    ),
    # what a file cannot hold
    _row(
        "run.configFile",
        "--config-file --config",
        "CONFIG_FILE",
        "The configuration file, YAML or JSON; read again when it changes and on SIGHUP.",
        metavar="FILE",
    ),
    _row(
        "run.machine",
        "--machine",
        "PLUMBLINE_MACHINE",
        "Folder of a simulated machine; unset means the machine this runs on.",
        metavar="DIR",
    ),
    _row(
        "run.kubeletDir",
        "--kubelet-dir",
        "PLUMBLINE_KUBELET_DIR",
        "The kubelet's device plugin folder, where the agent's sockets go.",
        metavar="DIR",
    ),
    _row(
        "run.kubeletSocket",
        "--kubelet-socket",
        "KUBELET_SOCKET",
        "Socket to register at, relative to the kubelet folder; empty means no registration.",
        empty_counts=True,
        metavar="SOCKET",
    ),
    _row(
        "run.nodeName",
        "--node-name",
        "NODE_NAME",
        "Name of this node in the cluster, whose label nvidia.com/mig.config is then followed.",
        metavar="NAME",
    ),
    _row(
        "run.podUid",
        "--pod-uid",
        "POD_UID",
        "UID of the agent's pod, in the names of its DRA sockets: two instances then serve beside "
        "each other.",
        metavar="UID",
    ),
    _row(
        "run.kubeconfig",
        "--kubeconfig",
        "KUBECONFIG",
        "How to reach the API server; unset means by the pod's service account.",
        metavar="FILE",
    ),
    _row(
        "run.printConfig",
        "--print-config",
        "",
        "Print the resulting configuration, each value with its origin, and exit.",
    ),
)
