"""Executes one Step through NVML, and looks whether the driver did what it was asked."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any

import pynvml

from agent.discovery.faults import optional, translated
from agent.model.errors import BusyError, HardwareError
from agent.model.mig import GpuInstance
from agent.partition.reset import Reset
from agent.planning.mig_steps import (
    CreateComputeInstance,
    CreateGpuInstance,
    DestroyComputeInstance,
    DestroyGpuInstance,
    Existing,
    MigStep,
    SetMigMode,
)

# Handles are opaque pointers of pynvml's own making.
Handle = Any


class Hands:
    """Executes the Steps of one plan; remembers which instance a number of the plan became.

    ``reset`` is how a GPU is reset where its mode changes no other way; None: it must not be.
    """

    def __init__(self, reset: Reset | None) -> None:
        """Begin with nothing made."""
        self._reset = reset
        self._made: dict[tuple[str, int], Handle] = {}
        self._gpus: dict[str, Handle] = {}

    def execute(self, step: MigStep) -> None:
        """Execute a Step.

        Raises BusyError when the driver says that what would change is in use, HardwareError
        when it refuses otherwise or does something else than it was asked.
        """
        try:
            with translated(step.text):
                self._execute(step)
        except HardwareError as error:
            if isinstance(error.__cause__, pynvml.NVMLError_InUse):
                raise BusyError(f"{step.text}: the driver says it is in use") from error
            raise

    def _execute(self, step: MigStep) -> None:
        match step:
            case SetMigMode():
                self._set_mode(step)
            case DestroyComputeInstance(instance=around, compute=gone):
                self._destroy_compute(step, around, gone.id)
            case DestroyGpuInstance(instance=gone):
                self._destroy_instance(step, gone)
            case CreateGpuInstance():
                self._create_instance(step)
            case CreateComputeInstance():
                self._create_compute(step)

    def _set_mode(self, step: SetMigMode) -> None:
        gpu = self._gpu(step.gpu)
        pynvml.nvmlDeviceSetMigMode(gpu, int(step.enabled))
        if _mode(gpu) == step.enabled:
            return
        if self._reset is None:
            # The driver was asked already: what it is to do at the next reset is taken back.
            pynvml.nvmlDeviceSetMigMode(gpu, int(step.was_pending))
            raise BusyError(
                f"{step.text}: the GPU takes its mode only with a reset, because a program holds it"
                " open or because it is older than Hopper; end what holds it, or allow the reset"
                " (plumbline.mig.allowReset, --allow-reset)"
            )
        self._reset(step.gpu)
        # NVML was started anew: every handle is another.
        self._gpus.clear()
        self._made.clear()
        if _mode(self._gpu(step.gpu)) != step.enabled:
            raise HardwareError(f"{step.text}: the mode is still another one after a reset")

    def _destroy_compute(self, step: MigStep, around: GpuInstance, compute: int) -> None:
        instance = self._instance(step, around)
        handle = pynvml.nvmlGpuInstanceGetComputeInstanceById(instance, compute)
        pynvml.nvmlComputeInstanceDestroy(handle)
        call = pynvml.nvmlGpuInstanceGetComputeInstanceById
        if optional(call, instance, compute) is not None:
            raise HardwareError(f"{step.text}: it is still there")

    def _destroy_instance(self, step: MigStep, gone: GpuInstance) -> None:
        pynvml.nvmlGpuInstanceDestroy(self._instance(step, gone))
        if optional(pynvml.nvmlDeviceGetGpuInstanceById, self._gpu(step.gpu), gone.id) is not None:
            raise HardwareError(f"{step.text}: it is still there")

    def _create_instance(self, step: CreateGpuInstance) -> None:
        place = pynvml.c_nvmlGpuInstancePlacement_t(step.placement.start, step.placement.size)
        made = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(
            self._gpu(step.gpu), step.profile, ctypes.byref(place)
        )
        info = pynvml.nvmlGpuInstanceGetInfo(made)
        self._made[step.gpu, step.number] = made
        there = (info.profileId, info.placement.start, info.placement.size)
        if there != (step.profile, step.placement.start, step.placement.size):
            raise HardwareError(
                f"{step.text}: the driver made one of profile {info.profileId} at"
                f" {info.placement.start} of size {info.placement.size}"
            )

    def _create_compute(self, step: CreateComputeInstance) -> None:
        inside = step.inside
        if isinstance(inside, Existing):
            instance = pynvml.nvmlDeviceGetGpuInstanceById(self._gpu(step.gpu), inside.id)
        else:
            instance = self._made[step.gpu, inside.number]
        made = _made_compute(instance, step)
        info = pynvml.nvmlComputeInstanceGetInfo(made)
        if info.profileId != step.profile:
            raise HardwareError(f"{step.text}: the driver made one of profile {info.profileId}")

    def _instance(self, step: MigStep, planned: GpuInstance) -> Handle:
        """Return a GPU instance as it was when the plan was made. Raises HardwareError."""
        handle = pynvml.nvmlDeviceGetGpuInstanceById(self._gpu(step.gpu), planned.id)
        info = pynvml.nvmlGpuInstanceGetInfo(handle)
        if (info.profileId, info.placement.start) != (planned.profile, planned.placement.start):
            raise HardwareError(
                f"{step.text}: somebody put another instance in its place meanwhile"
            )
        return handle

    def _gpu(self, uuid: str) -> Handle:
        found = self._gpus.get(uuid)
        if found is None:
            found = self._gpus[uuid] = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return found


def _made_compute(instance: Handle, step: CreateComputeInstance) -> Handle:
    if step.start is not None:
        place = pynvml.c_nvmlComputeInstancePlacement_t(step.start, step.slices)
        call = pynvml.nvmlGpuInstanceCreateComputeInstanceWithPlacement
        # Drivers before 535 have no such call: they choose.
        with contextlib.suppress(pynvml.NVMLError_FunctionNotFound):
            return call(instance, step.profile, ctypes.byref(place))
    return pynvml.nvmlGpuInstanceCreateComputeInstance(instance, step.profile)


def _mode(gpu: Handle) -> bool:
    return bool(pynvml.nvmlDeviceGetMigMode(gpu)[0])
