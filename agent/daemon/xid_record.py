"""What Xids have marked, on the disk: a restart of the agent mends no GPU, one of the node may."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from agent.daemon.boot import boot_id
from agent.daemon.threads import in_thread
from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.partition.written import forget, read_file, write_down
from agent.telemetry import logs

PATH = "/var/lib/plumbline/xids.json"


class _File(Struct, frozen=True, kw_only=True):
    version: Literal[1] = 1
    boot: str
    xids: dict[str, int]


class XidRecord:
    """Keeps the Xids of GPUs and MigInstances by UUID, while the node is not started anew."""

    def __init__(self, machine: Machine) -> None:
        """Nothing is read or written yet."""
        self._machine = machine
        self._path = machine.path(PATH)
        self._xids: Mapping[str, int] = {}
        self._stirred = asyncio.Event()
        self._writing = asyncio.Lock()

    def load(self) -> Mapping[str, int]:
        """Return what was kept in this boot; blocks. What cannot be read counts as nothing."""
        try:
            content = read_file(self._path)
            if content is None:
                return {}
            file = msgspec.json.decode(content, type=_File)
            # Also what is of another boot: that nothing is left of it is something new to keep.
            self._xids = file.xids
            return file.xids if file.boot == boot_id(self._machine) else {}
        except (HardwareError, OSError, ValueError, msgspec.DecodeError) as error:
            logs.error(
                "xids_unreadable",
                path=str(self._path),
                error=error,
                doing="offering GPUs that an Xid may have marked before",
            )
            return {}

    def keep(self, xids: Mapping[str, int]) -> None:
        """Have these written down, soon."""
        if xids != self._xids:
            self._xids = xids
            self._stirred.set()

    async def run(self) -> None:
        """Write whenever there is something new to keep, for ever."""
        while True:
            await self._stirred.wait()
            await self.flush()

    async def flush(self) -> None:
        """Write what has not been written yet."""
        async with self._writing:
            if self._stirred.is_set():
                self._stirred.clear()
                await self._write()

    async def _write(self) -> None:
        try:
            await in_thread(self._put, self._xids)
        except (HardwareError, OSError) as error:
            logs.error(
                "xids_not_kept",
                path=str(self._path),
                error=error,
                doing="going on: after a restart of the agent these GPUs would be offered",
            )

    def _put(self, xids: Mapping[str, int]) -> None:
        if not xids:
            forget(self._path)
            return
        file = _File(boot=boot_id(self._machine), xids=dict(xids))
        write_down(self._path, msgspec.json.encode(file))
