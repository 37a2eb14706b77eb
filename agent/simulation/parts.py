"""The parts machines are built of: GPU models, network cards and PCIe bridges, as data."""

from __future__ import annotations

import difflib
import functools
from importlib import resources
from typing import TypeVar

from msgspec import Struct

from agent.model.errors import ConfigError
from agent.simulation import strict

T = TypeVar("T")


class Clocks(Struct, frozen=True, forbid_unknown_fields=True):
    """The highest clocks, in MHz."""

    graphics: int
    memory: int
    sm: int | None = None
    """None: as ``graphics``."""
    video: int | None = None
    """None: as ``graphics``."""


class Power(Struct, frozen=True, forbid_unknown_fields=True):
    """Power limits and idle draw, in watts."""

    default: int
    min: int
    max: int
    idle: int


class NvlinkPorts(Struct, frozen=True, forbid_unknown_fields=True):
    """The NVLinks of one GPU."""

    count: int
    version: int
    speed_mbps: int
    """MB/s of one link in one direction."""


class GpuModel(Struct, frozen=True, forbid_unknown_fields=True):
    """What every board of one model has in common."""

    name: str
    """As the driver prints it."""
    device_id: str
    subsystem_id: str
    architecture: str
    compute_capability: str
    memory_mib: int
    reserved_mib: int
    bar1_mib: int
    bus_width_bits: int
    cores: int
    clocks: Clocks
    power: Power
    pcie_generation: int
    brand: str = "nvidia"
    pcie_width: int = 16
    pci_class: str = "0x030200"
    ecc: bool = True
    mig: str | None = None
    """Name of the table that says what it can be divided into; None: it does no MIG."""
    nvlinks: NvlinkPorts | None = None
    c2c_links: int = 0
    fabric: bool = False
    """True where the driver reports the state of an NVLink fabric (Hopper and later)."""
    peer_access: str | None = None
    """What P2P status says where the board refuses peer access; None: what the path allows."""


class MigRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A size of GPU instance; the fields are those of a machine's description."""

    number: int
    """NVML_GPU_INSTANCE_PROFILE_* of it."""
    name: str
    id: int
    slices: int
    memory_mib: int
    multiprocessors: int
    most: int
    starts: str
    size: int
    copy_engines: int = 0
    decoders: int = 0
    encoders: int = 0
    jpegs: int = 0
    ofas: int = 0


class NicModel(Struct, frozen=True, forbid_unknown_fields=True):
    """A network card as sysfs shows one function of it."""

    vendor_id: str
    device_id: str
    subsystem_vendor_id: str
    subsystem_device_id: str
    driver: str
    pcie_generation: int
    pcie_width: int
    speed_mbps: int
    hca_type: str | None = None
    """None for a card without RDMA."""
    board_id: str = ""
    firmware: str = ""
    rate: str = ""
    """The text of ports/1/rate, for example ``400 Gb/sec (4X NDR)``."""


class BridgeModel(Struct, frozen=True, forbid_unknown_fields=True):
    """A PCIe root port or switch chip."""

    vendor_id: str
    device_id: str
    subsystem_vendor_id: str
    subsystem_device_id: str
    pcie_generation: int
    pcie_width: int = 16


class Parts(Struct, frozen=True, forbid_unknown_fields=True):
    """Every part, by the name profiles use."""

    gpus: dict[str, GpuModel]
    nics: dict[str, NicModel]
    bridges: dict[str, BridgeModel]
    mig: dict[str, tuple[MigRow, ...]]

    def gpu(self, name: str) -> GpuModel:
        """Return a GPU model; raise ConfigError with the nearest name for an unknown one."""
        return _named(self.gpus, name, what="GPU model")

    def mig_table(self, model: GpuModel) -> tuple[MigRow, ...]:
        """Return what GPUs of a model can be divided into; nothing for one without MIG."""
        return _named(self.mig, model.mig, what="MIG table") if model.mig else ()

    def nic(self, name: str) -> NicModel:
        """Return a network card; raise ConfigError with the nearest name for an unknown one."""
        return _named(self.nics, name, what="network card")

    def bridge(self, name: str) -> BridgeModel:
        """Return a bridge; raise ConfigError with the nearest name for an unknown one."""
        return _named(self.bridges, name, what="bridge")


@functools.cache
def shipped() -> Parts:
    """Return the parts that ship with Plumbline."""
    return Parts(
        mig=_load("mig.yaml", dict[str, tuple[MigRow, ...]]),
        gpus=_load("gpus.yaml", dict[str, GpuModel]),
        nics=_load("nics.yaml", dict[str, NicModel]),
        bridges=_load("bridges.yaml", dict[str, BridgeModel]),
    )


def _load(name: str, kind: type[dict[str, T]]) -> dict[str, T]:
    source = resources.files("agent.simulation") / "parts" / name
    return strict.decode(source.read_bytes(), kind, where=f"parts/{name}")


def _named(parts: dict[str, T], name: str, *, what: str) -> T:
    found = parts.get(name)
    if found is None:
        near = difflib.get_close_matches(name, parts, n=1, cutoff=0)[0]
        raise ConfigError(
            f"unknown {what} '{name}': the nearest is '{near}' (known: {', '.join(parts)})"
        )
    return found
