# ruff: noqa: PYI021 - this file is where the extension is documented
"""The native core (native/bindings). Plain values in, plain values out; never prints or aborts."""

from enum import IntEnum
from os import PathLike
from typing import ClassVar, NoReturn, final

class _Value:
    """What the reader returns: immutable, and made by the reader only."""

    def __init__(self, *args: object, **kwargs: object) -> NoReturn: ...

class Distance(IntEnum):
    """How far apart two PCI devices are, nearest first; the values are NVML's ancestor levels."""

    PIX = 10
    PXB = 20
    PHB = 30
    NODE = 40
    SYS = 50
    __pybind11_native_enum__: ClassVar[object]

@final
class PciDevice(_Value):
    """One function below ``<root>/sys/bus/pci/devices``. None is: the file is absent or absurd."""

    @property
    def address(self) -> str: ...
    @property
    def root(self) -> str | None:
        """The host bridge, e.g. ``pci0000:15``."""
    @property
    def path(self) -> list[str]:
        """Addresses from the root port down to the device itself."""
    @property
    def switch_address(self) -> str | None:
        """Upstream port of the nearest real PCIe switch above the device."""
    @property
    def vendor_id(self) -> int | None: ...
    @property
    def device_id(self) -> int | None: ...
    @property
    def class_code(self) -> int | None:
        """24 bits, e.g. 0x030200."""
    @property
    def numa_node(self) -> int | None: ...
    @property
    def max_link_generation(self) -> int | None: ...
    @property
    def max_link_width(self) -> int | None: ...
    @property
    def current_link_generation(self) -> int | None: ...
    @property
    def current_link_width(self) -> int | None: ...
    @property
    def path_max_generation(self) -> int | None:
        """The narrowest hop from the device up to its root port."""
    @property
    def path_max_width(self) -> int | None: ...
    @property
    def acs_redirect(self) -> bool | None:
        """True when a port above sends peer traffic to the root complex; None when unreadable.

        Any root or downstream port above counts; ``SystemTree.acs_redirect`` asks about a pair.
        """
    @property
    def iommu_group(self) -> int | None: ...
    @property
    def driver(self) -> str | None: ...
    @property
    def physical_function(self) -> str | None:
        """Address of the PF when this is a virtual function."""

@final
class NicPort(_Value):
    @property
    def number(self) -> int: ...
    @property
    def state(self) -> str | None: ...
    @property
    def rate_gbps(self) -> float | None: ...
    @property
    def link_layer(self) -> str | None: ...

@final
class Nic(_Value):
    @property
    def name(self) -> str:
        """The RDMA device if there is one, else the network interface."""
    @property
    def address(self) -> str | None: ...
    @property
    def rdma(self) -> bool: ...
    @property
    def interfaces(self) -> list[str]: ...
    @property
    def ports(self) -> list[NicPort]: ...
    @property
    def numa_node(self) -> int | None: ...
    @property
    def physical_function(self) -> str | None: ...
    @property
    def nvlink_management(self) -> bool: ...

@final
class NumaNode(_Value):
    @property
    def id(self) -> int: ...
    @property
    def cpus(self) -> list[int]: ...
    @property
    def distances(self) -> dict[int, int]: ...
    @property
    def memory_bytes(self) -> int | None: ...
    @property
    def socket(self) -> int | None: ...

@final
class SystemTree(_Value):
    """The machine below one root folder, read once."""

    @property
    def devices(self) -> list[PciDevice]: ...
    @property
    def nics(self) -> list[Nic]: ...
    @property
    def nvswitches(self) -> list[str]:
        """Addresses of NVSwitch functions (class 0x068000, vendor 0x10de)."""
    @property
    def nvmes(self) -> list[str]: ...
    @property
    def numa_nodes(self) -> list[NumaNode]: ...
    @property
    def warnings(self) -> list[str]:
        """One sentence each, naming the file."""
    def device(self, address: str) -> PciDevice | None: ...
    def distance(self, a: str, b: str) -> Distance | None:
        """Distance of two devices by address; None when either is not there."""
    def acs_redirect(self, a: str, b: str) -> bool | None:
        """True when a port between two near devices sends their traffic up to the root complex.

        False when they share no bridge: it goes there anyway. None when unreadable.
        """

def read_system(root: str | PathLike[str]) -> SystemTree:
    """Read ``<root>/sys``. Never raises for what it finds there; releases the GIL."""
