"""What a claim's configuration says: NVIDIA's kinds, read strictly. Pure.

Kinds, fields and defaults are those of ``resource.nvidia.com/v1beta1`` (see docs/dra.md). A field
that is null is one that is not there, as where they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from agent.config.conversion import nearest, show
from agent.config.sharing import TimeSlice
from agent.model.errors import ClaimError
from agent.planning.claim_usage import AS_IT_IS, MpsUsage, Usage
from agent.planning.quantity import read_quantity

API_VERSION = "resource.nvidia.com/v1beta1"
TURNS, MPS = "TimeSlicing", "MPS"
INTERVALS = {
    "Default": None,
    "Short": TimeSlice.SHORT,
    "Medium": TimeSlice.MEDIUM,
    "Long": TimeSlice.LONG,
}
_PER_DEVICE = "defaultPerDevicePinnedMemoryLimit"
_MIB = 2**20
_PERCENT = 100


class ConfigKind(StrEnum):
    """What a configuration is for."""

    GPU = "GpuConfig"
    MIG = "MigDeviceConfig"


_UNSERVED = ("VfioDeviceConfig", "ComputeDomainChannelConfig", "ComputeDomainDaemonConfig")
_SUBCONFIG = {TURNS: "timeSlicingConfig", MPS: "mpsConfig"}


class DeviceConfig(Struct, frozen=True, kw_only=True):
    """One configuration."""

    kind: ConfigKind
    usage: Usage


def read_parameters(document: object, path: str) -> DeviceConfig:
    """Return what a document says; ``path`` is where it stands. Raises ClaimError, nothing else."""
    fields = _Fields(document, path)
    fields.word("apiVersion", (API_VERSION,))
    fields.refuse_unserved_kind()
    kind = ConfigKind(fields.word("kind", tuple(ConfigKind)))
    fields.refuse_others(("apiVersion", "kind", "sharing"))
    if not fields.has("sharing"):
        return DeviceConfig(kind=kind, usage=AS_IT_IS)
    return DeviceConfig(kind=kind, usage=_usage(fields.below("sharing"), kind))


def _usage(sharing: _Fields, kind: ConfigKind) -> Usage:
    if kind is ConfigKind.MIG and sharing.has(_SUBCONFIG[TURNS]):
        raise ClaimError(
            f"{sharing.path}.{_SUBCONFIG[TURNS]}: a MIG instance has no time slices; leave it out"
        )
    sharing.refuse_others(("strategy", *_SUBCONFIG.values()))
    strategy = sharing.word("strategy", tuple(_SUBCONFIG))
    for other, key in _SUBCONFIG.items():
        if other != strategy and sharing.has(key):
            raise ClaimError(
                f"{sharing.path}.{key}: strategy {strategy} does not go with it; leave it out, or"
                f" make the strategy {other}"
            )
    if strategy == MPS:
        return Usage(mps=_mps(sharing.below("mpsConfig")))
    return Usage(time_slice=_time_slice(sharing.below("timeSlicingConfig")))


def _time_slice(config: _Fields) -> TimeSlice | None:
    config.refuse_others(("interval",))
    return INTERVALS[config.word("interval", tuple(INTERVALS), default="Default")]


def _mps(config: _Fields) -> MpsUsage:
    threads, memory = "defaultActiveThreadPercentage", "defaultPinnedDeviceMemoryLimit"
    config.refuse_others((threads, memory, _PER_DEVICE, "multiUser"))
    limits = config.below(_PER_DEVICE)
    return MpsUsage(
        threads_percent=config.percentage(threads),
        memory_mib=config.memory_mib(memory),
        memory_mib_of={
            key: found for key in limits.keys if (found := limits.memory_mib(key)) is not None
        },
        multi_user=config.switch("multiUser"),
    )


class _Fields:
    """A mapping, and where it stands."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise ClaimError(f"{path}: {show(value)} is not a mapping")
        self.path = path
        self._values = {str(key): each for key, each in value.items() if each is not None}

    @property
    def keys(self) -> Iterable[str]:
        return self._values.keys()

    def has(self, key: str) -> bool:
        return key in self._values

    def below(self, key: str) -> _Fields:
        """Return what stands under a key; an empty mapping where nothing does."""
        return _Fields(self._values.get(key, {}), f"{self.path}.{key}")

    def refuse_others(self, known: tuple[str, ...]) -> None:
        for key in self._values:
            if key not in known:
                raise ClaimError(
                    f"{self.path}: unknown key {show(key)}{_hint(key, known)}"
                    f" (known: {', '.join(known)})"
                )

    def refuse_unserved_kind(self) -> None:
        kind = self._values.get("kind")
        if kind in _UNSERVED:
            raise ClaimError(
                f"{self.path}.kind: {kind} is a kind of NVIDIA's that this agent does not serve;"
                f" it serves {', '.join(ConfigKind)}"
            )

    def word(self, key: str, words: tuple[str, ...], *, default: str | None = None) -> str:
        value = self._values.get(key, default)
        if isinstance(value, str) and value in words:
            return value
        options = ", ".join(words)
        if value is None:
            raise ClaimError(f"{self.path}.{key}: it is missing; expected {options}")
        hint = _hint(value, words)
        raise ClaimError(f"{self.path}.{key}: {show(value)} is none of: {options}{hint}")

    def percentage(self, key: str) -> int | None:
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _PERCENT:
            raise ClaimError(
                f"{self.path}.{key}: {show(value)} is not a whole number from 0 to {_PERCENT}"
            )
        return value

    def memory_mib(self, key: str) -> int | None:
        value = self._values.get(key)
        if value is None:
            return None
        amount = read_quantity(value)
        if amount is None:
            raise ClaimError(f"{self._at(key)}: {show(value)} is no quantity, such as 10Gi or 500M")
        if amount < _MIB:
            raise ClaimError(f"{self._at(key)}: {show(value)} is less than 1Mi")
        return amount // _MIB

    def switch(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise ClaimError(f"{self.path}.{key}: {show(value)} is neither true nor false")
        return value

    def _at(self, key: str) -> str:
        # What devices are called may be anything.
        named = self.path.endswith(_PER_DEVICE)
        return f"{self.path}[{show(key)}]" if named else f"{self.path}.{key}"


def _hint(value: object, options: Iterable[str]) -> str:
    alike = nearest(value, options) if isinstance(value, str) else None
    return "" if alike is None else f"; did you mean {alike}?"
