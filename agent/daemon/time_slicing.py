"""Has the driver told how long turns on shared GPUs last, and told when they are shared no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent.config.sharing import TimeSlice
from agent.daemon.back_off import BackOff
from agent.daemon.threads import in_thread
from agent.model.errors import HardwareError
from agent.planning.shared_device import SharedDevice
from agent.telemetry import logs

if TYPE_CHECKING:
    from agent.partition.time_slices import TimeSlices


class TimeSlicing:
    """Sets and puts back the time slices of one machine's GPUs."""

    def __init__(self, slices: TimeSlices) -> None:
        """Begin without knowing what is set."""
        self._slices = slices
        self._set: dict[str, TimeSlice] = {}
        """What this process has set: the driver forgets it with the boot, records do not."""
        self._written: set[str] | None = None
        self._back_off = BackOff()
        self.faults: Mapping[str, str] = {}
        """Why a time slice is not in force, by UUID."""

    async def lead(self, shares: Mapping[str, SharedDevice]) -> None:
        """Set what is wanted and put back the rest. What fails is logged, and tried again."""
        wanted = {
            uuid: each.time_slice for uuid, each in shares.items() if each.time_slice is not None
        }
        if self._written is None:
            self._written = set(await in_thread(self._slices.written))
        if wanted == self._set and self._written <= wanted.keys():
            self.faults = {}
            return
        if self._back_off.waits:
            return
        faults: dict[str, str] = {}
        for uuid in sorted(self._written - wanted.keys()):
            faults |= await self._put_back(uuid)
        for uuid, time_slice in wanted.items():
            if self._set.get(uuid) != time_slice:
                faults |= await self._tell(uuid, time_slice)
        if faults and faults != self.faults:
            logs.error("time_slice_failed", errors=tuple(faults.values()), doing="trying again")
        self.faults = faults
        if faults:
            self._back_off.failed()
        else:
            self._back_off.succeeded()

    async def _tell(self, uuid: str, time_slice: TimeSlice) -> dict[str, str]:
        assert self._written is not None  # noqa: S101 - read first of all
        self._written.add(uuid)
        try:
            await in_thread(self._slices.set, uuid, time_slice)
        except HardwareError as error:
            return {uuid: str(error)}
        self._set[uuid] = time_slice
        logs.event("time_slice", gpu=uuid, set=time_slice.value)
        return {}

    async def _put_back(self, uuid: str) -> dict[str, str]:
        assert self._written is not None  # noqa: S101 - read first of all
        try:
            await in_thread(self._slices.put_back, uuid)
        except HardwareError as error:
            return {uuid: str(error)}
        self._set.pop(uuid, None)
        self._written.discard(uuid)
        logs.event("time_slice", gpu=uuid, set=TimeSlice.DEFAULT.value)
        return {}
