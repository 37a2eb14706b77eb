"""Reads every GPU as far as dividing it goes, also while MIG mode is off."""

from __future__ import annotations

from typing import Any

import pynvml
from msgspec import Struct

from agent.discovery.faults import LOST, optional, translated
from agent.discovery.gpus import parse_address, read_module_id
from agent.discovery.mig import read_instances, read_processes, read_profiles
from agent.model.inventory import PciAddress
from agent.model.mig import GpuInstance, GpuInstanceProfile, MigProcess

# From Hopper on a GPU changes its mode at once; Ampere's with its next reset (MIG user guide).
_LIVE_FROM = (9, 0)

# What boards offer, by PCI ids and mode: reading it of each GPU again takes most of the time.
_Boards = dict[tuple[int, int, bool], tuple[GpuInstanceProfile, ...]]


class MigReading(Struct, frozen=True, kw_only=True):
    """How one GPU is divided, and what it could be divided into."""

    index: int
    uuid: str
    address: PciAddress
    minor: int | None
    """Number of its device node."""
    module_id: int | None
    model: str
    """Product name."""
    device_id: int
    """PCI device id above the vendor's: 0x233010DE."""
    subsystem_id: int
    capable: bool
    """Whether it can do MIG."""
    enabled: bool
    """MIG mode in effect."""
    pending: bool
    """MIG mode after the next reset."""
    needs_reset: bool
    """A change of the mode waits for a reset of the GPU."""
    profiles: tuple[GpuInstanceProfile, ...]
    """Drivers up to 535 tell them only while MIG mode is on."""
    instances: tuple[GpuInstance, ...]
    processes: tuple[MigProcess, ...]

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"GPU {self.index} ({self.model})"


def read_mig_gpus() -> tuple[MigReading, ...]:
    """Read every GPU that answers. Raises HardwareError when one that can do MIG fails midway.

    A GPU that is lost is left out: nobody can divide it.
    """
    with translated("counting GPUs"):
        count = pynvml.nvmlDeviceGetCount()
    boards: _Boards = {}
    found = (_read_gpu(index, boards) for index in range(count))
    return tuple(each for each in found if each is not None)


def _read_gpu(index: int, boards: _Boards) -> MigReading | None:
    with translated(f"reading how GPU {index} is divided"):
        try:
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(gpu)
        except pynvml.NVMLError as error:
            if error.value in LOST:
                return None
            raise
        return _read(gpu, index, uuid, boards)


def _read(gpu: Any, index: int, uuid: str, boards: _Boards) -> MigReading:  # noqa: ANN401 - a handle of pynvml's
    bus = pynvml.nvmlDeviceGetPciInfo(gpu)
    modes = optional(pynvml.nvmlDeviceGetMigMode, gpu)
    enabled = modes is not None and bool(modes[0])
    board = (bus.pciDeviceId, bus.pciSubSystemId, enabled)
    if board not in boards:
        boards[board] = read_profiles(gpu) if modes is not None else ()
    profiles = boards[board]
    capability = optional(pynvml.nvmlDeviceGetCudaComputeCapability, gpu)
    return MigReading(
        index=index,
        uuid=uuid,
        address=parse_address(bus.busId),
        minor=optional(pynvml.nvmlDeviceGetMinorNumber, gpu),
        module_id=read_module_id(gpu),
        model=pynvml.nvmlDeviceGetName(gpu),
        device_id=bus.pciDeviceId,
        subsystem_id=bus.pciSubSystemId,
        capable=modes is not None,
        enabled=enabled,
        pending=modes is not None and bool(modes[1]),
        needs_reset=capability is None or tuple(capability) < _LIVE_FROM,
        profiles=profiles,
        instances=read_instances(gpu, profiles) if enabled else (),
        processes=optional(read_processes, gpu) or (),
    )
