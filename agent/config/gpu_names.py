"""How a configuration names GPUs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from agent.config.section import OneOrMany, Section

Pattern = Annotated[
    str, Meta(min_length=1, description="a pattern for a product name, where * stands for anything")
]
DeviceIndex = Annotated[int, Meta(ge=0)]

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
GpuUuid = Annotated[
    str,
    Meta(
        pattern=rf"^GPU-{UUID}\Z",
        description="the UUID of a GPU, as nvidia-smi -L prints it",
    ),
]
BusAddress = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]\Z",
        description="a PCI address, as in 0000:1b:00.0",
    ),
]
_HEX8 = "0x[0-9a-fA-F]{8}"
DeviceFilter = Annotated[
    str,
    Meta(
        pattern=rf"^{_HEX8}(:{_HEX8})?\Z",
        description="a PCI device id with its vendor, as in 0x233010DE, or with the subsystem's, "
        "as in 0x233010DE:0x16C110DE",
    ),
]


class GpuNames(Section, frozen=True, kw_only=True):
    """Which GPUs: those that fit every key given. Without any key: all."""

    model: OneOrMany[Pattern] | None = None
    """Product names."""
    index: OneOrMany[DeviceIndex] | None = None
    """NVML indices."""
    uuid: OneOrMany[GpuUuid] | None = None
    pci_address: OneOrMany[BusAddress] | None = None
    module_id: OneOrMany[DeviceIndex] | None = None
    """Places on the baseboard, as ``nvidia-smi -q`` counts them."""


class GpuSelector(GpuNames, frozen=True, kw_only=True):
    """The same, with what mig-parted's files tell GPUs apart by."""

    device_filter: OneOrMany[DeviceFilter] | None = None
    """PCI device ids, as in mig-parted's files."""
