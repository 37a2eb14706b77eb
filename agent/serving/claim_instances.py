"""The Stage that makes MigInstances for claims, and takes them away with them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from agent.model.errors import ClaimError
from agent.model.mig import InstancePlace, MigPlacement
from agent.serving.claim_store import ClaimStore, StoredClaim, StoredDevice
from agent.telemetry import logs


class Maker(Protocol):
    """Divides GPUs; every call blocks and raises PlumblineError."""

    def make(self, folder: Path, place: InstancePlace, made: Callable[[str], None]) -> None:
        """Make an instance; ``made`` is told its UUID before that counts as done."""
        ...

    def remove(self, folder: Path, made: Mapping[InstancePlace, str | None]) -> None:
        """Take instances of one GPU away that have these UUIDs; None: if only just begun."""
        ...

    def make_whole(self, folder: Path, gpu: str) -> None:
        """Have a GPU leave MIG mode."""
        ...


class ClaimInstances:
    """Divides GPUs for claims, each by itself: two claims for one GPU wait for each other."""

    def __init__(
        self,
        folder: Path,
        store: ClaimStore,
        maker: Maker,
        *,
        in_mig_mode: Callable[[str], bool],
        seen: Callable[[frozenset[str]], Awaitable[None]],
        changed: Callable[[], None],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        """``folder`` is that of the journals.

        ``in_mig_mode`` tells whether a GPU is, by UUID. ``seen`` waits until the node is known
        to have these instances; raises HardwareError. ``changed`` is told when GPUs were divided.
        """
        self._folder = folder
        self._store = store
        self._maker = maker
        self._in_mig_mode = in_mig_mode
        self._seen = seen
        self._changed = changed
        self._in_thread = in_thread
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def acts(self, claim: StoredClaim, document: Mapping[str, Any]) -> bool:  # noqa: ARG002 - a Stage
        """Return True for a claim for which a GPU is divided, or made whole."""
        return any(
            device.place is not None or any(map(self._in_mig_mode, device.gpus))
            for device in claim.devices
        )

    async def prepare(self, claim: StoredClaim, document: Mapping[str, Any]) -> StoredClaim:  # noqa: ARG002 - a Stage
        """Make what a claim has of instances, and have its whole GPUs leave MIG mode."""
        for number, device in enumerate(claim.devices):
            if device.place is not None:
                claim = await self._made(claim, number, device)
            elif device.uuids == device.gpus and not device.admin:
                for gpu in device.gpus:
                    await self._whole(gpu)
        new = frozenset(uuid for each in claim.devices if each.place for uuid in each.uuids)
        if new:
            self._changed()
            await self._seen(new)
        return claim

    async def release(self, claim: StoredClaim) -> None:
        """Take the instances of a claim away."""
        by_gpu: defaultdict[str, dict[InstancePlace, str | None]] = defaultdict(dict)
        for device in claim.devices:
            if device.place is not None and not device.admin:
                uuid = device.uuids[0] if device.uuids else None
                by_gpu[device.gpus[0]][_place(device)] = uuid
        for gpu, made in by_gpu.items():
            async with self._locks[gpu]:
                await self._in_thread(self._maker.remove, self._folder, made)
            instances = tuple(uuid for uuid in made.values() if uuid is not None)
            logs.event(
                "instances_removed", claim=str(claim), gpu=gpu, instances=instances or "none"
            )
            self._changed()

    async def _made(self, claim: StoredClaim, number: int, device: StoredDevice) -> StoredClaim:
        if device.admin:
            raise ClaimError(
                f"{device.device} is made for who claims it, and adminAccess makes nothing; claim"
                " the whole GPU with adminAccess"
            )
        made: list[StoredClaim] = []

        def note(uuid: str) -> None:
            devices = list(claim.devices)
            devices[number] = replace(device, uuids=(uuid,))
            known = replace(claim, devices=tuple(devices))
            self._store.write(known)
            made.append(known)

        place = _place(device)
        async with self._locks[place.gpu]:
            await self._in_thread(self._maker.make, self._folder, place, note)
        logs.event(
            "instance_made",
            claim=str(claim),
            gpu=place.gpu,
            instance=made[0].devices[number].uuids[0],
        )
        return made[0]

    async def _whole(self, gpu: str) -> None:
        if self._in_mig_mode(gpu):
            async with self._locks[gpu]:
                await self._in_thread(self._maker.make_whole, self._folder, gpu)
            self._changed()


def _place(device: StoredDevice) -> InstancePlace:
    place = device.place
    if place is None:
        raise ClaimError(f"{device.device} is no instance that is made for claims")
    return InstancePlace(
        gpu=device.gpus[0],
        profile=place.profile,
        placement=MigPlacement(start=place.start, size=place.size),
    )
