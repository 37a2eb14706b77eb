"""What may not be combined, what is not built yet, and what says nothing to anybody yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from msgspec import Struct

from agent.config.mig import within_layouts
from agent.config.own import ClaimedMig, ResourcePolicy, ServingMode
from agent.config.schema import Config, DiscoveryStrategy
from agent.config.sharing import full_name
from agent.config.sharing_checks import within_sharing


class NotYet(Struct, frozen=True, kw_only=True):
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


class Clash(Struct, frozen=True, kw_only=True):
    """Settings that contradict each other, or a value that contradicts itself."""

    path: str
    """The setting to correct."""
    message: str


def find_clashes(config: Config, unread: Collection[str] = ()) -> list[Clash]:
    """Return what cannot be in a configuration.

    ``unread`` are settings that could not be read: nothing is concluded from their defaults.
    """
    found = [
        *_combinations(config),
        *_within_sharing(config),
        *_within_imex(config),
        *_within_placement(config),
        *_within_mig(config),
        *_within_dra(config),
    ]
    missing = [
        Clash(path=row.path, message=f"is not supported yet; {row.instead}")
        for row in NOT_YET
        if row.asks(config)
    ]
    return [clash for clash in (*found, *missing) if clash.path not in unread]


def _combinations(config: Config) -> Iterator[Clash]:
    flags, sharing = config.flags, config.sharing
    if sharing.mps is not None and sharing.time_slicing is not None:
        yield Clash(
            path="sharing.mps",
            message="cannot be combined with sharing.timeSlicing; keep one of the two",
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
    for path, message in within_sharing(config.sharing):
        yield Clash(path=path, message=message)


def _within_placement(config: Config) -> Iterator[Clash]:
    yield from _twice_named("plumbline.placement", config.plumbline.placement.resources)


def _within_dra(config: Config) -> Iterator[Clash]:
    mode, dra = config.plumbline.mode, config.plumbline.dra
    if mode is ServingMode.SPLIT and dra.gpus is None:
        yield Clash(
            path="plumbline.dra.gpus",
            message="is missing: in mode split it says which GPUs are given through DRA",
        )
    if mode is not ServingMode.SPLIT and dra.gpus is not None:
        yield Clash(
            path="plumbline.dra.gpus",
            message=f"says nothing in mode {mode.value}; set plumbline.mode: split or leave it out",
        )
    if mode is ServingMode.DEVICE_PLUGIN and dra.nics:
        yield Clash(
            path="plumbline.dra.nics",
            message="says nothing in mode device-plugin; plumbline.nics gives NICs with GPUs",
        )
    if mode is ServingMode.DEVICE_PLUGIN and dra.metadata:
        yield Clash(
            path="plumbline.dra.metadata",
            message="says nothing in mode device-plugin: it is about the devices of claims",
        )
    if dra.mig is ClaimedMig.DYNAMIC and config.plumbline.mig.layout is not None:
        yield Clash(
            path="plumbline.dra.mig",
            message="dynamic has claims divide the GPUs, and plumbline.mig.layout says how they"
            " are divided; leave one of them out",
        )
    if dra.shares != "disabled" and (dra.cells or dra.mig is ClaimedMig.DYNAMIC):
        other = "plumbline.dra.cells" if dra.cells else "plumbline.dra.mig: dynamic"
        yield Clash(
            path="plumbline.dra.shares",
            message=f"cannot be had with {other}: a GPU that several claims have would have to"
            " count for each of them",
        )


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
