"""Makes network functions: physical ones, and the virtual ones a profile asks for."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from agent.model.errors import ConfigError
from agent.simulation import identity, parts
from agent.simulation.addresses import Address
from agent.simulation.parts import NicModel
from agent.simulation.profile import Entry
from agent.simulation.spec import Function, NicSpec, PcieSpec, PciIds, PortType

_VIRTUAL_CONNECTX = 0x101E  # the PCI ID repository: a virtual function of a later ConnectX
_FIRST_VIRTUAL = 2  # mlx5: virtual functions stand behind the two physical ones
_FUNCTIONS, _DEVICES = 8, 32


class NicMaker(Struct, kw_only=True):
    """Makes network functions, numbering them as they are met."""

    identity: str
    card: str
    """Name of the card of entries that do not say."""
    _made: int = 0

    def make(
        self, entry: Entry, address: Address, node: int | None, *, port: PortType
    ) -> tuple[Function, ...]:
        """Return the function of an entry, then its virtual functions; raise ConfigError."""
        model = parts.shipped().nic(entry.card or self.card)
        if entry.nic is not None and model.hca_type is None:
            raise ConfigError(f"{address}: the card of '{entry.nic}' has no RDMA; say net instead")
        physical = self._function(entry, address, node, port=port, model=model)
        virtual = tuple(
            self._virtual(physical, address, number, count=entry.vfs) for number in range(entry.vfs)
        )
        return (replace(physical, virtual_functions=virtual), *virtual)

    def _function(
        self, entry: Entry, address: Address, node: int | None, *, port: PortType, model: NicModel
    ) -> Function:
        infiniband = entry.link == "infiniband" and entry.nic is not None
        card = identity.card_guid(self.identity, f"{address.domain}:{address.bus}:{address.device}")
        return Function(
            address=str(address),
            ids=PciIds(
                vendor=int(model.vendor_id, 16),
                device=int(model.device_id, 16),
                subsystem_vendor=int(model.subsystem_vendor_id, 16),
                subsystem_device=int(model.subsystem_device_id, 16),
                class_code=0x020700 if infiniband else 0x020000,
            ),
            numa_node=node,
            port=port,
            pcie=PcieSpec(
                max_generation=model.pcie_generation,
                max_width=model.pcie_width,
                current_generation=model.pcie_generation,
                current_width=model.pcie_width,
            ),
            driver=model.driver,
            role=NicSpec(
                model=model,
                rdma=entry.nic,
                interface=entry.net,
                guid=card + address.function,
                system_guid=card,
                ordinal=self._next(),
                infiniband=infiniband,
                up=entry.up,
                management=entry.management,
            ),
        )

    def _virtual(
        self, physical: Function, address: Address, number: int, *, count: int
    ) -> Function:
        place = _FIRST_VIRTUAL + address.function * count + number
        device, function = divmod(address.device * _FUNCTIONS + place, _FUNCTIONS)
        if device >= _DEVICES:
            raise ConfigError(f"{address}: there is no room for {count} virtual functions")
        own = physical.role
        if not isinstance(own, NicSpec):  # pragma: no cover - made just above
            raise TypeError(physical)
        return replace(
            physical,
            address=str(address._replace(device=device, function=function)),
            ids=replace(physical.ids, device=_VIRTUAL_CONNECTX),
            physical_function=physical.address,
            role=replace(
                own,
                rdma=None if own.rdma is None else f"{own.rdma}v{number}",
                interface=None if own.interface is None else f"{own.interface}v{number}",
                guid=own.guid + _FUNCTIONS + place,
                ordinal=self._next(),
            ),
        )

    def _next(self) -> int:
        self._made += 1
        return self._made - 1
