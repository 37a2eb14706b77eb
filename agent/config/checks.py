"""What may not be combined, what is not built yet, and what says nothing to anybody yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from agent.config.mig import within_layouts
from agent.config.own import ResourcePolicy
from agent.config.schema import Config, DiscoveryStrategy, MigStrategy
from agent.config.sharing import (
    LONGEST_NAME,
    MPS_MAX_REPLICAS,
    ReplicatedResource,
    SharedResources,
    full_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """A setting whose values, beyond those that need nothing, are understood but not built."""

    path: str
    asks: Callable[[Config], bool]
    """True when the configuration asks for what is missing."""
    instead: str
    """What to write until then."""


# A feature that gets built deletes its row.
NOT_YET: tuple[NotYet, ...] = (
    NotYet(
        path="flags.deviceDiscoveryStrategy",
        asks=lambda c: (
            c.flags.device_discovery_strategy in {DiscoveryStrategy.TEGRA, DiscoveryStrategy.VFIO}
        ),
        instead="use auto or nvml",
    ),
    NotYet(path="sharing.mps", asks=lambda c: c.sharing.mps is not None, instead="leave it out"),
    NotYet(path="imex.channelIDs", asks=lambda c: bool(c.imex.channel_ids), instead="use []"),
    NotYet(
        path="plumbline.cdi.featureFlags",
        asks=lambda c: bool(c.plumbline.cdi.feature_flags),
        instead="leave it out",
    ),
)

# Read, checked and printed, and harmless to ignore: each only says how a feature is to behave
# that is not built. What acts on one takes it off the list.
NO_EFFECT_YET: tuple[str, ...] = (
    "flags.mpsRoot",
    "flags.useNodeFeatureAPI",
    "flags.plugin.nvidiaCTKPath",
    "flags.gfd.oneshot",
    "flags.gfd.noTimestamp",
    "flags.gfd.sleepInterval",
    "flags.gfd.outputFile",
    "flags.gfd.machineTypeFile",
    "imex.required",
    "plumbline.cdi.disableHooks",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Settings that contradict each other, or a value that contradicts itself."""

    path: str
    """The setting to correct."""
    message: str


def find_clashes(config: Config, unread: Collection[str] = ()) -> list[Clash]:
    """Return what cannot be in a configuration.

    ``unread`` are settings that could not be read: nothing is concluded from their defaults.
    """
    found = [
        *_combinations(config, unread),
        *_within_sharing(config),
        *_within_imex(config),
        *_within_placement(config),
        *_within_mig(config),
    ]
    missing = [
        Clash(path=row.path, message=f"is not supported yet; {row.instead}")
        for row in NOT_YET
        if row.asks(config)
    ]
    return [clash for clash in (*found, *missing) if clash.path not in unread]


def _combinations(config: Config, unread: Collection[str]) -> Iterator[Clash]:
    flags, sharing = config.flags, config.sharing
    if sharing.mps is not None and sharing.time_slicing is not None:
        yield Clash(
            path="sharing.mps",
            message="cannot be combined with sharing.timeSlicing; keep one of the two",
        )
    if sharing.mps is not None and flags.mps_root is None and "flags.mpsRoot" not in unread:
        yield Clash(
            path="flags.mpsRoot",
            message="is needed by sharing.mps; set it to the MPS daemon's folder on the host, "
            "as in /run/nvidia/mps",
        )
    if sharing.mps is not None and flags.mig_strategy is MigStrategy.MIXED:
        yield Clash(
            path="sharing.mps",
            message="cannot be combined with flags.migStrategy mixed: MPS shares no MIG devices",
        )
    if config.plumbline.nics.enabled and flags.mofed_enabled:
        yield Clash(
            path="flags.mofedEnabled",
            message="cannot be combined with plumbline.nics.enabled: it gives every NIC to every "
            "container; keep one of the two",
        )
    if flags.plugin.uses_cdi and flags.device_discovery_strategy is DiscoveryStrategy.TEGRA:
        yield Clash(
            path="flags.plugin.deviceListStrategy",
            message="CDI needs NVML, which flags.deviceDiscoveryStrategy tegra does without; "
            "use envvar",
        )


def _within_sharing(config: Config) -> Iterator[Clash]:
    sections = {
        "sharing.timeSlicing": config.sharing.time_slicing,
        "sharing.mps": config.sharing.mps,
    }
    for path, shared in sections.items():
        if shared is not None:
            yield from _twice_shared(path, shared.resources)
            yield from _too_long(path, shared)
    for i, resource in enumerate(config.sharing.mps.resources if config.sharing.mps else ()):
        if resource.replicas > MPS_MAX_REPLICAS:
            yield Clash(
                path=f"sharing.mps.resources[{i}].replicas",
                message=f"{resource.replicas} is more than MPS serves; at most {MPS_MAX_REPLICAS}",
            )


def _twice_shared(path: str, resources: Sequence[ReplicatedResource]) -> Iterator[Clash]:
    """Yield entries that cannot but claim the devices of an earlier one."""
    names = [
        (full_name(each.name), each.devices if each.devices == "all" else None)
        for each in resources
    ]
    for i, (name, devices) in enumerate(names):
        earlier = [other for other in names[:i] if other[0] == name]
        if earlier and (devices == "all" or any(other[1] == "all" for other in earlier)):
            yield Clash(
                path=f"{path}.resources[{i}].name",
                message=f"{name!r} stands twice, once for all of its devices; join the two"
                " entries, or list the devices of both",
            )


def _too_long(path: str, shared: SharedResources) -> Iterator[Clash]:
    for i, each in enumerate(shared.resources):
        name = full_name(each.name) + ".shared"
        if shared.rename_by_default and each.rename is None and len(name) > LONGEST_NAME:
            yield Clash(
                path=f"{path}.resources[{i}].name",
                message=f"{name!r} has {len(name)} characters; a resource name has at most"
                f" {LONGEST_NAME}; give it a rename",
            )


def _within_placement(config: Config) -> Iterator[Clash]:
    yield from _twice_named("plumbline.placement", config.plumbline.placement.resources)


def _within_mig(config: Config) -> Iterator[Clash]:
    for part, message in within_layouts(config.plumbline.mig):
        yield Clash(path=f"plumbline.mig.{part}", message=message)


def _twice_named(path: str, resources: Sequence[ResourcePolicy]) -> Iterator[Clash]:
    names = [full_name(resource.name) for resource in resources]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield Clash(
                path=f"{path}.resources[{i}].name",
                message=f"{name!r} stands twice; join the two entries",
            )


def _within_imex(config: Config) -> Iterator[Clash]:
    if config.imex.channel_ids not in {(), (0,)}:
        listed = ", ".join(map(str, config.imex.channel_ids))
        yield Clash(path="imex.channelIDs", message=f"[{listed}] is neither [] nor [0]")
