"""Reads each GPU through NVML."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pynvml
from msgspec import Struct

from agent.discovery import mig
from agent.discovery.faults import LOST, Questions, explain, translated
from agent.model.inventory import (
    Distance,
    Fabric,
    Link,
    LinkPeer,
    MigMode,
    PciAddress,
    PcieLink,
    UnavailableGpu,
)
from agent.model.mig import Partition

# A handle is an opaque pointer of pynvml's own making.
Handle = Any
# Questions.ask, of one GPU.
Ask = Callable[..., Any]
# nvmlPciInfo_t, as pynvml fills it.
PciInfo = Any

# 4,096 CPUs or NUMA nodes: more than the kernel's largest configuration on these machines.
AFFINITY_WORDS = 64

BRANDS = {
    getattr(pynvml, name): name.removeprefix("NVML_BRAND_").lower().replace("_", "-")
    for name in vars(pynvml)
    if name.startswith("NVML_BRAND_") and name not in {"NVML_BRAND_COUNT", "NVML_BRAND_UNKNOWN"}
}
ARCHITECTURES = {
    getattr(pynvml, name): name.removeprefix("NVML_DEVICE_ARCH_").lower()
    for name in vars(pynvml)
    if name.startswith("NVML_DEVICE_ARCH_") and name != "NVML_DEVICE_ARCH_UNKNOWN"
}
FABRIC_STATES = {
    pynvml.NVML_GPU_FABRIC_STATE_NOT_STARTED: "not-started",
    pynvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS: "in-progress",
    pynvml.NVML_GPU_FABRIC_STATE_COMPLETED: "completed",
}
LINK_PEERS = {
    pynvml.NVML_NVLINK_DEVICE_TYPE_GPU: LinkPeer.GPU,
    pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH: LinkPeer.SWITCH,
    pynvml.NVML_NVLINK_DEVICE_TYPE_IBMNPU: LinkPeer.NPU,
}
# nvidia-smi prints two GPUs of one board as PIX too.
ANCESTORS = {
    pynvml.NVML_TOPOLOGY_INTERNAL: Distance.PIX,
    pynvml.NVML_TOPOLOGY_SINGLE: Distance.PIX,
    pynvml.NVML_TOPOLOGY_MULTIPLE: Distance.PXB,
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: Distance.PHB,
    pynvml.NVML_TOPOLOGY_NODE: Distance.NODE,
    pynvml.NVML_TOPOLOGY_SYSTEM: Distance.SYS,
}


class GpuReading(Struct, frozen=True, kw_only=True):
    """What NVML alone says of one GPU; discovery.inventory adds what sysfs says."""

    handle: Handle
    index: int
    uuid: str
    name: str
    address: PciAddress
    brand: str | None
    architecture: str | None
    compute_capability: str | None
    serial: str | None
    minor: int | None
    module_id: int | None
    board_id: int | None
    memory_bytes: int
    memory_numa_node: int | None
    cpu_affinity: tuple[int, ...]
    memory_affinity: tuple[int, ...]
    pcie: PcieLink
    mig: MigMode | None
    partition: Partition | None
    links: tuple[Link, ...]
    c2c_links: int
    fabric: Fabric | None
    oddities: tuple[str, ...]
    """What the driver refused to tell without a good reason."""


def read_gpus() -> tuple[tuple[GpuReading, ...], tuple[UnavailableGpu, ...]]:
    """Read every GPU the driver lists. One that fails is unavailable; the others are unaffected.

    Raises HardwareError when the driver cannot even say how many there are.
    """
    with translated("counting GPUs"):
        count = pynvml.nvmlDeviceGetCount()
    readings: list[GpuReading] = []
    unavailable: list[UnavailableGpu] = []
    for index in range(count):
        reading = _read_gpu(index)
        if isinstance(reading, GpuReading):
            readings.append(reading)
        else:
            unavailable.append(reading)
    return tuple(readings), tuple(unavailable)


def common_ancestor(a: Handle, b: Handle) -> Distance | None:
    """Return the PCIe distance of two GPUs as the driver sees it; None when it will not say."""
    try:
        return ANCESTORS.get(pynvml.nvmlDeviceGetTopologyCommonAncestor(a, b))
    except pynvml.NVMLError:
        # Either GPU may have been lost since it was read: sysfs still knows where they sit.
        return None


def parse_address(bus_id: str | bytes) -> PciAddress:
    """Return an NVML bus id (``00000000:1B:00.0``) as sysfs writes it (``0000:1b:00.0``)."""
    text = bus_id.decode() if isinstance(bus_id, bytes) else bus_id
    domain, _, rest = text.lower().partition(":")
    return PciAddress(f"{int(domain, 16):04x}:{rest}")


def _read_gpu(index: int) -> GpuReading | UnavailableGpu:
    uuid: str | None = None
    address: PciAddress | None = None
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = pynvml.nvmlDeviceGetUUID(handle)
        address = parse_address(pynvml.nvmlDeviceGetPciInfo(handle).busId)
        return _read_facts(index, handle, uuid=uuid, address=address)
    except pynvml.NVMLError as error:
        return UnavailableGpu(index=index, uuid=uuid, address=address, reason=explain(error))


def _read_facts(index: int, handle: Handle, *, uuid: str, address: PciAddress) -> GpuReading:
    questions = Questions()
    ask = questions.ask
    capability = ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    mode = _read_mig(ask, handle)
    return GpuReading(
        handle=handle,
        index=index,
        uuid=uuid,
        name=pynvml.nvmlDeviceGetName(handle),
        address=address,
        brand=BRANDS.get(ask(pynvml.nvmlDeviceGetBrand, handle)),
        architecture=ARCHITECTURES.get(ask(pynvml.nvmlDeviceGetArchitecture, handle)),
        compute_capability=capability and f"{capability[0]}.{capability[1]}",
        serial=ask(pynvml.nvmlDeviceGetSerial, handle),
        minor=ask(pynvml.nvmlDeviceGetMinorNumber, handle),
        module_id=read_module_id(handle),
        board_id=ask(pynvml.nvmlDeviceGetBoardId, handle),
        memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
        memory_numa_node=_memory_numa_node(ask, handle),
        cpu_affinity=_affinity(ask, pynvml.nvmlDeviceGetCpuAffinity, handle),
        memory_affinity=_affinity(
            ask, pynvml.nvmlDeviceGetMemoryAffinity, handle, pynvml.NVML_AFFINITY_SCOPE_NODE
        ),
        pcie=_read_pcie(ask, handle),
        mig=mode,
        partition=_read_partition(questions, handle) if mode and mode.current else None,
        links=_read_links(ask, handle),
        c2c_links=_read_c2c(ask, handle),
        fabric=_read_fabric(ask, handle),
        oddities=tuple(questions.oddities),
    )


def read_module_id(handle: Handle) -> int | None:
    """Return a GPU's place on the baseboard; None where the driver tells none."""
    module = ctypes.c_uint()
    # Given a reference, pynvml fills it and returns the code instead of raising.
    code = pynvml.nvmlDeviceGetModuleId(handle, ctypes.byref(module))
    return module.value if code == pynvml.NVML_SUCCESS else None


def _memory_numa_node(ask: Ask, handle: Handle) -> int | None:
    node = ask(pynvml.nvmlDeviceGetNumaNodeId, handle)
    return None if node is None or node < 0 else node


def _affinity(
    ask: Ask, call: Callable[..., list[int]], handle: Handle, *scope: int
) -> tuple[int, ...]:
    words = ask(call, handle, AFFINITY_WORDS, *scope)
    if words is None:
        return ()
    return tuple(
        64 * i + bit for i, word in enumerate(words) if word for bit in range(64) if word >> bit & 1
    )


def _read_pcie(ask: Ask, handle: Handle) -> PcieLink:
    return PcieLink(
        max_generation=ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        max_width=ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        current_generation=ask(pynvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
        current_width=ask(pynvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
    )


def _read_mig(ask: Ask, handle: Handle) -> MigMode | None:
    modes = ask(pynvml.nvmlDeviceGetMigMode, handle)
    if modes is None:
        return None
    return MigMode(current=bool(modes[0]), pending=bool(modes[1]))


def _read_partition(questions: Questions, handle: Handle) -> Partition | None:
    try:
        return mig.read_partition(handle)
    except pynvml.NVMLError as error:
        if error.value in LOST:
            raise
        questions.oddities.append(f"its MIG instances cannot be seen: {explain(error)}")
        return None


def _read_links(ask: Ask, handle: Handle) -> tuple[Link, ...]:
    links = []
    for index in range(pynvml.NVML_NVLINK_MAX_LINKS):
        state = ask(pynvml.nvmlDeviceGetNvLinkState, handle, index)
        if state is None:
            # Links are numbered without gaps: the first that is refused ends them.
            break
        links.append(_read_link(ask, handle, index, active=bool(state)))
    return tuple(links)


def _read_link(ask: Ask, handle: Handle, index: int, *, active: bool) -> Link:
    peer = LINK_PEERS.get(
        ask(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, index), LinkPeer.UNKNOWN
    )
    remote = ask(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, index)
    return Link(
        index=index,
        active=active,
        version=ask(pynvml.nvmlDeviceGetNvLinkVersion, handle, index),
        peer=peer,
        peer_address=_peer_address(remote),
    )


def _peer_address(remote: PciInfo | None) -> PciAddress | None:
    # The driver answers with a domain of all ones where it does not know the far end.
    if remote is None or remote.domain >= 0xFFFFFFF or not remote.busId:
        return None
    return parse_address(remote.busId)


def _read_c2c(ask: Ask, handle: Handle) -> int:
    values = ask(pynvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_C2C_LINK_COUNT])
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return 0
    return int(values[0].value.uiVal)


def _read_fabric(ask: Ask, handle: Handle) -> Fabric | None:
    info = pynvml.c_nvmlGpuFabricInfoV_t()
    if ask(pynvml.nvmlDeviceGetGpuFabricInfoV, handle, ctypes.byref(info)) is None:
        return None
    state = FABRIC_STATES.get(info.state)
    if state is None:
        return None
    return Fabric(
        state=state,
        cluster_uuid=str(UUID(bytes=bytes(info.clusterUuid))),
        clique_id=info.cliqueId,
        health_mask=info.healthMask,
    )
