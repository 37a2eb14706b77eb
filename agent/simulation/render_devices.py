"""Renders what drivers add to a PCI function: RDMA devices, interfaces, NVMe, DRM."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from agent.simulation import identity, vital_data
from agent.simulation.entries import Entry, File, Link, text
from agent.simulation.spec import Function, GpuSpec, NicSpec, NvmeSpec

UVERBS_MAJOR = 231  # Documentation/admin-guide/devices.txt of the kernel
FIRST_UVERBS_MINOR = 192
DRM_MAJOR = 226
FIRST_RENDER_NODE = 128

_ETHERNET, _INFINIBAND = 1, 32  # ARPHRD_* in the kernel's include/uapi/linux/if_arp.h
DISPLAY_CLASS = 0x030000


class Numbering(Struct):
    """Renders class devices; numbers the DRM nodes in the order of the bus, as drivers probe."""

    cards: int = 0

    def render(self, folder: str, function: Function) -> Iterator[Entry]:
        """Yield what the function's driver shows below its folder and in /sys/class."""
        match function.role:
            case NicSpec() as nic:
                yield from _nic(folder, nic)
            case NvmeSpec() as nvme:
                yield from _nvme(folder, nvme)
            case GpuSpec():
                yield from self._drm(folder, render_node=True)
            case None if function.ids.class_code == DISPLAY_CLASS:
                yield from self._drm(folder, render_node=False)

    def _drm(self, folder: str, *, render_node: bool) -> Iterator[Entry]:
        card = self.cards
        self.cards += 1
        yield from _drm_node(folder, f"card{card}", card)
        if render_node:
            number = FIRST_RENDER_NODE + card
            yield from _drm_node(folder, f"renderD{number}", number)


def _drm_node(folder: str, name: str, minor: int) -> Iterator[Entry]:
    yield text(f"{folder}/drm/{name}/dev", f"{DRM_MAJOR}:{minor}")
    yield from _class_device(folder, "drm", name)


def _class_device(folder: str, kind: str, name: str) -> Iterator[Entry]:
    here = f"{folder}/{kind}/{name}"
    yield Link(f"{here}/device", folder)
    yield Link(f"{here}/subsystem", f"sys/class/{kind}")
    yield Link(f"sys/class/{kind}/{name}", here)


def _nic(folder: str, nic: NicSpec) -> Iterator[Entry]:
    yield File(f"{folder}/vpd", vital_data.of_nic(nic))
    if nic.interface is not None:
        yield from _interface(folder, nic, nic.interface)
    if nic.rdma is not None:
        yield from _rdma(folder, nic, nic.rdma)


def _interface(folder: str, nic: NicSpec, name: str) -> Iterator[Entry]:
    here = f"{folder}/net/{name}"
    yield from _class_device(folder, "net", name)
    hardware = identity.mac(nic.guid)
    if nic.infiniband:
        hardware = identity.infiniband_address(nic.guid)
    yield text(f"{here}/address", hardware)
    yield text(f"{here}/addr_len", 20 if nic.infiniband else 6)
    yield text(f"{here}/type", _INFINIBAND if nic.infiniband else _ETHERNET)
    yield text(f"{here}/dev_id", "0x0")
    yield text(f"{here}/dev_port", 0)
    yield text(f"{here}/ifindex", nic.ordinal + 2)
    yield text(f"{here}/mtu", 4092 if nic.infiniband else 1500)
    yield text(f"{here}/operstate", "up" if nic.up else "down")
    yield text(f"{here}/carrier", int(nic.up))
    yield text(f"{here}/speed", nic.model.speed_mbps if nic.up else -1)


def _rdma(folder: str, nic: NicSpec, name: str) -> Iterator[Entry]:
    here = f"{folder}/infiniband/{name}"
    yield from _class_device(folder, "infiniband", name)
    yield text(f"{here}/node_type", "1: CA")
    yield text(f"{here}/node_guid", identity.colon_guid(nic.guid))
    yield text(f"{here}/sys_image_guid", identity.colon_guid(nic.system_guid))
    yield text(f"{here}/node_desc", name)
    yield text(f"{here}/hca_type", nic.model.hca_type or "")
    yield text(f"{here}/board_id", nic.model.board_id)
    yield text(f"{here}/fw_ver", nic.model.firmware)
    port = f"{here}/ports/1"
    yield text(f"{port}/state", "4: ACTIVE" if nic.up else "1: DOWN")
    yield text(f"{port}/phys_state", "5: LinkUp" if nic.up else "3: Disabled")
    yield text(f"{port}/rate", nic.model.rate)
    yield text(f"{port}/link_layer", "InfiniBand" if nic.infiniband else "Ethernet")
    yield text(f"{port}/lid", f"0x{nic.ordinal + 1 if nic.infiniband else 0:x}")
    verbs = f"{folder}/infiniband_verbs/uverbs{nic.ordinal}"
    yield text(f"{verbs}/ibdev", name)
    yield text(f"{verbs}/abi_version", 1)
    yield text(f"{verbs}/dev", f"{UVERBS_MAJOR}:{FIRST_UVERBS_MINOR + nic.ordinal}")
    yield from _class_device(folder, "infiniband_verbs", f"uverbs{nic.ordinal}")


def _nvme(folder: str, nvme: NvmeSpec) -> Iterator[Entry]:
    here = f"{folder}/nvme/{nvme.name}"
    yield from _class_device(folder, "nvme", nvme.name)
    yield text(f"{here}/model", f"{nvme.model:<40}")
    yield text(f"{here}/serial", f"{nvme.serial:<20}")
    yield text(f"{here}/state", "live")
    yield text(f"{here}/transport", "pcie")
    yield text(f"{here}/address", folder.rpartition("/")[2])
