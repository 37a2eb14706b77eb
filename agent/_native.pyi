# ruff: noqa: PYI021 - this file is where the extension is documented
"""The native core (native/bindings). Plain values in, plain values out; never prints or aborts."""

from collections.abc import Sequence
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

class PlacementTerm(IntEnum):
    """A place of a key; larger is better in each.

    RING, MIN_PAIR, REST_SUM, REST_REACH and SUM_PAIR are GB/s; CLIQUE is 1 inside one complete
    NVLink clique.
    NUMA_NODES and SOCKETS are minus the number spanned, a device of unknown node spanning one of
    its own; under SPREAD plus the number of known ones. FRAGMENTATION, REST_SUM and REST_REACH
    are about what stays free: REST_REACH sums its pairs with every device, also with those in use.
    RAILS are the free rails covered, up to those wanted, and RAIL_DEVICES the devices
    that have one; where nobody asked for rails they are counted free or not, and negative, so that
    others find them. PENALTY is minus the sum. ORDER decides the rest: lower ranks first.
    """

    RING = 0
    MIN_PAIR = 1
    CLIQUE = 2
    NUMA_NODES = 3
    SOCKETS = 4
    FRAGMENTATION = 5
    REST_SUM = 6
    REST_REACH = 7
    RAILS = 8
    RAIL_DEVICES = 9
    SUM_PAIR = 10
    PENALTY = 11
    ORDER = 12
    __pybind11_native_enum__: ClassVar[object]

class PlacementPolicy(IntEnum):
    """How the terms are ordered, after the order of PlacementTerm, which is DEFAULT.

    NUMA_FIRST moves NUMA_NODES and SOCKETS to the front. RDMA moves RAILS and RAIL_DEVICES before
    FRAGMENTATION, as every policy does when rails are wanted by number. PACK moves FRAGMENTATION,
    REST_SUM and REST_REACH directly behind RING. SPREAD is RDMA's order with NUMA_NODES and
    SOCKETS counted upwards: it spreads only among sets of equal RING, MIN_PAIR and CLIQUE. For a
    single device FRAGMENTATION, REST_SUM and REST_REACH come first, and before them rails under
    RDMA or when wanted.
    """

    DEFAULT = 0
    NUMA_FIRST = 1
    RDMA = 2
    PACK = 3
    SPREAD = 4
    __pybind11_native_enum__: ClassVar[object]

@final
class Choice(_Value):
    """A chosen set and why. Sets are bit masks by rank."""

    @property
    def chosen(self) -> int: ...
    @property
    def key(self) -> tuple[int, ...]:
        """Compared left to right; larger is better."""
    @property
    def terms(self) -> tuple[PlacementTerm, ...]:
        """What the places of the key are."""
    @property
    def runner_up(self) -> int | None:
        """The best set that lost; None when there was no other."""
    @property
    def runner_up_key(self) -> tuple[int, ...] | None: ...
    @property
    def ring_gbps(self) -> int | None:
        """Slowest hop of the best ring through the set; None for fewer than two devices."""
    @property
    def min_pair_gbps(self) -> int | None: ...
    @property
    def sum_pair_gbps(self) -> int: ...
    @property
    def limiting_pair(self) -> tuple[int, int] | None:
        """The slowest pair; of several the one of lowest ranks."""
    @property
    def exact(self) -> bool:
        """No set is better. False above ``exact_up_to`` devices when the search was cut short."""
    @property
    def examined(self) -> int: ...

class ShareTerm(IntEnum):
    """A place of a share key; larger is better in each.

    PARENTS is the number of parents, minus that when packed; RING to SOCKETS, SUM_PAIR, PENALTY
    and ORDER are those of the set of parents, as in PlacementTerm. LEFTOVER is minus the shares
    left on the parents taken, offered or not, OPENED minus the parents that nobody had a share of,
    LOAD minus the loads (millionths of a parent) that each share found, itself included.
    """

    PARENTS = 0
    RING = 1
    MIN_PAIR = 2
    CLIQUE = 3
    NUMA_NODES = 4
    SOCKETS = 5
    LEFTOVER = 6
    OPENED = 7
    LOAD = 8
    SUM_PAIR = 9
    PENALTY = 10
    ORDER = 11
    __pybind11_native_enum__: ClassVar[object]

class SharePolicy(IntEnum):
    """PACKED: as few parents as hold the request; of those the set a job would be placed on (RING
    to SOCKETS), then the least LEFTOVER, then the fewest OPENED. DISTRIBUTED: each share where it
    leaves the load lowest; in a tie more parents, then the set a job would be placed on. ALIGNED:
    as many different parents as can be, of those the set a job would be placed on, then the
    lowest LOAD.
    """

    PACKED = 0
    DISTRIBUTED = 1
    ALIGNED = 2
    __pybind11_native_enum__: ClassVar[object]

@final
class ShareChoice(_Value):
    @property
    def counts(self) -> tuple[int, ...]:
        """Shares taken of each parent."""
    @property
    def parents(self) -> int:
        """Mask of the parents of which any are taken."""
    @property
    def key(self) -> tuple[int, ...]: ...
    @property
    def terms(self) -> tuple[ShareTerm, ...]: ...
    @property
    def exact(self) -> bool: ...
    @property
    def examined(self) -> int: ...

@final
class PlacementEngine:
    """Finds the best set of up to ``most_devices`` of one machine. Immutable; any thread may ask.

    Devices are numbered by rank: of equals the lower is taken. ``pair_gbps`` is symmetric, 0 for
    unknown, its diagonal ignored; ``numa``, ``socket`` and ``rails`` are masks of up to 256 bits
    per device, 0 for unknown or none; ``clique`` is -1 for none. Raises ValueError that names the
    argument, the index and the value.
    """

    exact_up_to: ClassVar[int]
    """Up to so many devices, with no node, socket or rail above bit 63, every answer is exact."""
    most_devices: ClassVar[int]
    def __init__(
        self,
        *,
        pair_gbps: Sequence[Sequence[int]],
        numa: Sequence[int],
        socket: Sequence[int],
        clique: Sequence[int],
        rails: Sequence[int],
        penalty: Sequence[int],
    ) -> None: ...
    @property
    def table_bytes(self) -> int:
        """Memory held by the tables."""
    def choose(
        self,
        *,
        available: int,
        must: int,
        size: int,
        free: int,
        policy: PlacementPolicy,
        rails_wanted: int = 0,
        rails_free: int | None = None,
    ) -> Choice:
        """Choose ``size`` of ``available`` and ``must``. Always answers; releases the GIL.

        ``must`` may lie outside of ``available``, which is added to ``free``, the node's free
        devices. Bits of no device are ignored; a size above what there is gives all; of a ``must``
        larger than ``size`` the lowest ranks are taken. ``rails_free`` are the rails that count
        where rails are wanted by number or liked by the policy; None for all. Raises ValueError
        for a negative number.
        """
    def choose_shares(
        self,
        *,
        free: Sequence[int],
        total: Sequence[int],
        must: Sequence[int],
        size: int,
        policy: SharePolicy,
        held: Sequence[int] | None = None,
    ) -> ShareChoice:
        """Choose ``size`` shares of devices, as counts per device. Always answers.

        ``free`` are the shares offered, ``total`` all there are, ``held`` those in use: where it
        is not given, all that are not offered. Only ``free`` and ``must`` are given away; loads
        and what is left are counted from ``held``. ``must`` are part of ``size``. A size above
        what there is gives all; of a ``must`` larger than ``size`` the lowest ranks are taken.
        Raises ValueError, naming the argument, the index and the value, for more free and held
        than there are, or more than 100,000.
        """
    def score(
        self,
        chosen: int,
        *,
        free: int,
        policy: PlacementPolicy,
        rails_wanted: int = 0,
        rails_free: int | None = None,
    ) -> tuple[int, ...]:
        """Return the key of any set, as ``choose`` would give it with this free set."""
    def fragmentation(self, free: int) -> int:
        """Return what can still be placed on a free set; larger is better."""
    def largest_aligned(self, free: int, size: int) -> tuple[int, int, int]:
        """Return what is left for requests of a size: count, GB/s, mask.

        The count of disjoint sets as good as the best on the whole machine (by slowest pair, NUMA
        nodes and sockets), and of the best single set left the slowest pair and the set itself;
        zeros when none of the size is left.
        """

def read_system(root: str | PathLike[str]) -> SystemTree:
    """Read ``<root>/sys``. Never raises for what it finds there; releases the GIL."""
