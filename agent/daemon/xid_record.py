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
# A disk may be full for a while.
RETRY_S = 5.0
# How long the end waits for a disk.
CLOSE_S = 1.0


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
        self._forgiven = False
        self._stirred = asyncio.Event()
        self._writing = asyncio.Lock()
        self._closed = False
        self._trouble: str | None = None

    async def load(self) -> Mapping[str, int]:
        """Return what was kept in this boot and not forgiven since this process began.

        What cannot be read counts as nothing.
        """
        try:
            self._xids = await in_thread(self._get)
        except (HardwareError, OSError, ValueError, msgspec.DecodeError) as error:
            logs.error(
                "xids_unreadable",
                path=str(self._path),
                error=error,
                doing="offering GPUs that an Xid may have marked before",
            )
        return {} if self._forgiven else self._xids

    def forgive(self) -> None:
        """Take in that somebody says that what may be kept is mended; for before it is loaded."""
        self._forgiven = True

    def keep(self, xids: Mapping[str, int]) -> None:
        """Have these written down, soon; nothing once it is closed: somebody else keeps them."""
        if xids != self._xids and not self._closed:
            self._xids = xids
            self._stirred.set()

    async def run(self) -> None:
        """Write whenever there is something new to keep, for ever."""
        while True:
            await self._stirred.wait()
            if not await self._flush():
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Write what has not been written yet, before another instance reads it."""
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._flush()
        except TimeoutError:
            logs.error("xids_not_kept", path=str(self._path), error="the disk does not answer")

    async def _flush(self) -> bool:
        """Write what has not been written yet; return False where it still is not."""
        async with self._writing:
            if not self._stirred.is_set():
                return True
            xids = self._xids
            try:
                await in_thread(self._put, xids)
            except (HardwareError, OSError) as error:
                self._note(str(error))
                return False
            self._note(None)
            if self._xids is xids:
                self._stirred.clear()
            return True

    def _note(self, trouble: str | None) -> None:
        """Say once what keeps the disk from taking them."""
        if trouble is not None and trouble != self._trouble:
            logs.error(
                "xids_not_kept",
                path=str(self._path),
                error=trouble,
                doing="trying again: a restarted agent would offer these GPUs",
            )
        self._trouble = trouble

    def _get(self) -> Mapping[str, int]:
        content = read_file(self._path)
        if content is None:
            return {}
        file = msgspec.json.decode(content, type=_File)
        if file.boot != boot_id(self._machine):
            forget(self._path)
            return {}
        return file.xids

    def _put(self, xids: Mapping[str, int]) -> None:
        if not xids:
            forget(self._path)
            return
        file = _File(boot=boot_id(self._machine), xids=dict(xids))
        write_down(self._path, msgspec.json.encode(file))
