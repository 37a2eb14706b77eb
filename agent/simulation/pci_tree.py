"""Lays out a profile's PCI tree: root ports, switches, and bus numbers around given addresses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from agent.model.errors import ConfigError
from agent.simulation import addresses, parts
from agent.simulation.addresses import Address
from agent.simulation.profile import Entry, Root
from agent.simulation.spec import Bridge, Function, HostBridge, PcieSpec, PciIds, PortType

_BRIDGE_CLASS = 0x060400
_DEVICES_ON_A_BUS = 32

MakeFunctions = Callable[[Entry, Address, Root, PortType], tuple[Function, ...]]
"""Makes the functions of one entry: its own, then the virtual ones that are its neighbours."""


class _Slot(Struct, frozen=True):
    """The functions of one card, behind a port of their own."""

    entries: tuple[tuple[Address, Entry], ...]

    @property
    def buses(self) -> tuple[int, int]:
        bus = self.entries[0][0].bus
        return bus, bus

    def __str__(self) -> str:
        return str(self.entries[0][0])


class _Switch(Struct, frozen=True):
    """A switch chip: its upstream port is alone on a bus, its downstream ports are on the next."""

    entry: Entry
    behind: tuple[_Slot | _Switch, ...]

    @property
    def buses(self) -> tuple[int, int]:
        spans = [node.buses for node in self.behind]
        return min(first for first, _ in spans) - 2, max(last for _, last in spans)

    def __str__(self) -> str:
        return f"the switch above {self.behind[0]}"


class Layout(Struct, frozen=True, kw_only=True):
    """What turns entries into a tree."""

    root_port: str
    """Name of the root ports in parts/bridges.yaml."""
    acs_redirect: bool
    make: MakeFunctions

    def host_bridge(self, root: Root) -> HostBridge:
        """Return a root complex with all below it; raise ConfigError where it cannot be."""
        where = f"root {root.root}"
        domain, bus = addresses.parse_root(root.root, what=where)
        nodes, on_bus = _plan(root.ports, domain=domain, bus=bus, where=where)
        _check_buses(nodes, low=bus + 1, where=where)
        limits = _Port(layout=self, root=root, domain=domain)
        return HostBridge(
            domain=domain,
            bus=bus,
            numa_node=numa_node(root.node),
            children=(
                *self._integrated(on_bus, root),
                *(limits.root_port(node, bus, place) for place, node in enumerate(nodes)),
            ),
        )

    def _integrated(
        self, entries: Sequence[tuple[Address, Entry]], root: Root
    ) -> Iterator[Function]:
        for address, entry in entries:
            yield from self.make(entry, address, root, PortType.INTEGRATED)


class _Port(Struct, frozen=True, kw_only=True):
    """Makes the bridges of one root complex."""

    layout: Layout
    root: Root
    domain: int

    def root_port(self, node: _Slot | _Switch, bus: int, place: int) -> Bridge:
        function, device = divmod(place, _DEVICES_ON_A_BUS - 1)
        address = Address(self.domain, bus, device + 1, function)
        return self._bridge(
            address,
            PortType.ROOT_PORT,
            chip=self.layout.root_port,
            buses=node.buses,
            children=self._children(node),
            acs=self.layout.acs_redirect,
        )

    def _children(self, node: _Slot | _Switch) -> tuple[Bridge | Function, ...]:
        if isinstance(node, _Switch):
            return (self._upstream(node),)
        made = (
            self.layout.make(entry, address, self.root, PortType.ENDPOINT)
            for address, entry in node.entries
        )
        return tuple(itertools.chain.from_iterable(made))

    def _upstream(self, switch: _Switch) -> Bridge:
        first, last = switch.buses
        chip = switch.entry.switch or ""
        acs = (
            self.layout.acs_redirect if switch.entry.acs is None else switch.entry.acs == "redirect"
        )
        downstream = tuple(
            self._bridge(
                Address(self.domain, first + 1, device, 0),
                PortType.DOWNSTREAM,
                chip=chip,
                buses=node.buses,
                children=self._children(node),
                acs=acs,
            )
            for device, node in enumerate(switch.behind)
        )
        return self._bridge(
            Address(self.domain, first, 0, 0),
            PortType.UPSTREAM,
            chip=chip,
            buses=(first + 1, last),
            children=downstream,
            acs=False,
        )

    def _bridge(
        self,
        address: Address,
        port: PortType,
        *,
        chip: str,
        buses: tuple[int, int],
        children: tuple[Bridge | Function, ...],
        acs: bool,
    ) -> Bridge:
        model = parts.shipped().bridge(chip)
        generation, width = model.pcie_generation, model.pcie_width
        beyond = children[0].pcie if port is not PortType.UPSTREAM else None
        return Bridge(
            address=str(address),
            ids=PciIds(
                vendor=int(model.vendor_id, 16),
                device=int(model.device_id, 16),
                subsystem_vendor=int(model.subsystem_vendor_id, 16),
                subsystem_device=int(model.subsystem_device_id, 16),
                class_code=_BRIDGE_CLASS,
            ),
            numa_node=numa_node(self.root.node),
            port=port,
            pcie=PcieSpec(
                max_generation=generation,
                max_width=width,
                current_generation=min(generation, beyond.max_generation) if beyond else generation,
                current_width=min(width, beyond.max_width) if beyond else width,
            ),
            secondary=buses[0],
            subordinate=buses[1],
            acs_redirect=acs,
            children=children,
        )


def numa_node(number: int) -> int | None:
    """Return a NUMA node as specs have it: None for sysfs's -1."""
    return None if number < 0 else number


def _plan(
    entries: Sequence[Entry], *, domain: int, bus: int | None, where: str
) -> tuple[list[_Slot | _Switch], list[tuple[Address, Entry]]]:
    """Return what stands behind ports of its own, by bus, and what is on ``bus`` itself."""
    nodes: list[_Slot | _Switch] = []
    cards: dict[tuple[int, int], list[tuple[Address, Entry]]] = {}
    on_bus: list[tuple[Address, Entry]] = []
    for entry in entries:
        if entry.switch is not None:
            nodes.append(_switch(entry, domain=domain, where=where))
            continue
        address = addresses.parse(entry.at, domain=domain, what=where)
        if address.domain != domain:
            raise ConfigError(f"{where}: {address} is in another domain than its root")
        if address.bus == bus:
            on_bus.append((address, entry))
        else:
            cards.setdefault((address.bus, address.device), []).append((address, entry))
    nodes += [_Slot(tuple(card)) for card in cards.values()]
    return sorted(nodes, key=lambda node: node.buses), on_bus


def _switch(entry: Entry, *, domain: int, where: str) -> _Switch:
    if not entry.below:
        raise ConfigError(f"{where}: a switch '{entry.switch}' with nothing below it")
    behind, _ = _plan(entry.below, domain=domain, bus=None, where=where)
    if len(behind) > _DEVICES_ON_A_BUS:
        raise ConfigError(
            f"{where}: a switch '{entry.switch}' with {len(behind)} ports; "
            f"a bus has room for {_DEVICES_ON_A_BUS}"
        )
    return _Switch(entry, tuple(behind))


def _check_buses(nodes: Sequence[_Slot | _Switch], *, low: int, where: str) -> None:
    """Refuse bus numbers that two bridges would share, or that lie before their parent's."""
    free = low
    for node in nodes:
        first, last = node.buses
        if first < free:
            raise ConfigError(
                f"{where}: {node} needs bus {max(first, 0):02x}, but buses below {free:02x} are "
                "taken; give the devices higher or wider spaced bus numbers"
            )
        if isinstance(node, _Switch):
            _check_buses(node.behind, low=first + 2, where=where)
        free = last + 1
