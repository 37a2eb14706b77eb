"""Builds a PCI tree in which devices are as far apart as a capture says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from agent.model.errors import ConfigError
from agent.model.inventory import Distance
from agent.simulation.clusters import Relations, components
from agent.simulation.profile import Entry, Root

_BUSES = 256
_PORTS = 32  # devices on the inner bus of a switch
_FUNCTIONS = 8  # of a card
_SEPARATE_CARDS = 16  # below a switch with more devices than this, NICs are functions of cards


class _Card(Struct, frozen=True):
    """Functions behind one port."""

    names: tuple[str, ...]

    @property
    def buses(self) -> int:
        return 1


class _Switch(Struct, frozen=True):
    """A switch chip."""

    behind: tuple[_Card | _Switch, ...]

    @property
    def buses(self) -> int:
        return 2 + sum(node.buses for node in self.behind)


class Planner(Struct, frozen=True, kw_only=True):
    """Turns groups of devices into root complexes with addresses."""

    relations: Relations
    node_of: Mapping[str, int]
    """NUMA node by name; -1 for none."""
    entry: Callable[[str], Entry]
    """Makes a device's entry, without an address."""
    is_nic: Callable[[str], bool]
    switch: str
    """The switches, in parts/bridges.yaml."""

    def roots(self, names: Sequence[str]) -> Iterator[Root]:
        """Yield the root complexes; raise ConfigError where one needs more buses than there are."""
        domain, bus = 0, 0
        for group in components(names, self.relations, Distance.PHB):
            ports = self._ports(group)
            size = 1 + sum(node.buses for node in ports)
            if size > _BUSES:
                raise ConfigError(
                    f"{len(group)} devices below one host bridge ({group[0]} ... {group[-1]}): "
                    f"they need {size} buses, a PCI domain has {_BUSES}"
                )
            if bus + size > _BUSES:
                domain, bus = domain + 1, 0
            yield self._root(ports, domain=domain, bus=bus, node=self.node_of[group[0]])
            bus += size

    def _ports(self, group: Sequence[str]) -> list[_Card | _Switch]:
        clusters = components(group, self.relations, Distance.PXB)
        return [self._behind_port(cluster) for cluster in clusters]

    def _behind_port(self, cluster: Sequence[str]) -> _Card | _Switch:
        """Return a card or a switch for what is PIX, else switches below a switch."""
        groups = components(cluster, self.relations, Distance.PIX)
        if len(groups) == 1:
            return self._together(groups[0])
        inner = tuple(_Switch(self._cards(group)) for group in groups)
        while len(inner) > _PORTS:
            starts = range(0, len(inner), _PORTS)
            inner = tuple(_Switch(inner[start : start + _PORTS]) for start in starts)
        return _Switch(inner)

    def _together(self, group: tuple[str, ...]) -> _Card | _Switch:
        is_card = len(group) <= _FUNCTIONS and all(map(self.is_nic, group))
        return _Card(group) if len(group) == 1 or is_card else _Switch(self._cards(group))

    def _cards(self, group: Sequence[str]) -> tuple[_Card, ...]:
        if len(group) <= _SEPARATE_CARDS:
            return tuple(_Card((name,)) for name in group)
        nics = tuple(name for name in group if self.is_nic(name))
        starts = range(0, len(nics), _FUNCTIONS)
        return (
            *(_Card((name,)) for name in group if not self.is_nic(name)),
            *(_Card(nics[start : start + _FUNCTIONS]) for start in starts),
        )

    def _root(self, ports: Sequence[_Card | _Switch], *, domain: int, bus: int, node: int) -> Root:
        entries: list[Entry] = []
        free = bus + 1
        for port in ports:
            entries += self._place(port, free, node)
            free += port.buses
        return Root(root=f"{domain:04x}:{bus:02x}", node=node, ports=tuple(entries))

    def _place(self, part: _Card | _Switch, bus: int, root_node: int) -> list[Entry]:
        """Return the entries of a part whose first bus this is."""
        if isinstance(part, _Card):
            return [
                self._function(name, f"{bus:02x}:00.{number}", root_node)
                for number, name in enumerate(part.names)
            ]
        below: list[Entry] = []
        free = bus + 2
        for behind in part.behind:
            below += self._place(behind, free, root_node)
            free += behind.buses
        return [Entry(switch=self.switch, below=tuple(below))]

    def _function(self, name: str, at: str, root_node: int) -> Entry:
        node = self.node_of[name]
        stated = None if node == root_node else node
        return replace(self.entry(name), at=at, node=stated)
