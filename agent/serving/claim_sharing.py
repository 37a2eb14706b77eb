"""The Stage that has the containers of a claim share its devices, as the claim asks.

What is done is known from the claim's file, which says it before it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from agent.config.sharing import TimeSlice
from agent.model.errors import ClaimError, PlumblineError
from agent.planning.claim_config import Asked, read_usages
from agent.planning.claim_parameters import ConfigKind
from agent.planning.claim_usage import AS_IT_IS, Usage, claim_set
from agent.planning.mps import MpsSet, Rendezvous
from agent.planning.mps_clients import rendezvous_env, rendezvous_mounts
from agent.serving.claim_store import ClaimStore, StoredClaim, StoredDevice
from agent.telemetry import logs


class Sharer(Protocol):
    """Shares devices; every call blocks, can be made again, and raises PlumblineError."""

    def set_time_slice(self, gpu: str, time_slice: TimeSlice) -> None:
        """Set how long turns on a GPU last."""
        ...

    def put_back_time_slice(self, gpu: str) -> None:
        """Undo that, where it was done."""
        ...

    def serve(self, mps_set: MpsSet) -> Rendezvous:
        """Have an MPS daemon serve a set; return where containers meet it."""
        ...

    def end(self, name: str) -> None:
        """Undo that, where it was done, for the set of a name."""
        ...

    def revive(self, name: str) -> bool:
        """Start a daemon anew that has died; return whether it had."""
        ...


class ClaimSharing:
    """Shares devices for claims, each by itself: two claims with one device wait for each other."""

    def __init__(
        self,
        store: ClaimStore,
        sharer: Sharer,
        *,
        driver: str,
        obstacle: Callable[[str, Usage], str | None],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        """``obstacle`` says why a device cannot be used so, by UUID; None where it can."""
        self._store = store
        self._sharer = sharer
        self._driver = driver
        self._obstacle = obstacle
        self._in_thread = in_thread
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._faults: dict[str, str] = {}
        """Why daemons that have died could not be started anew, by set."""

    def acts(self, claim: StoredClaim, document: Mapping[str, Any]) -> bool:  # noqa: ARG002 - a Stage
        """Return False: what is to be done is written down here, once it is known."""
        return False

    async def prepare(self, claim: StoredClaim, document: Mapping[str, Any]) -> StoredClaim:
        """Set time slices, and start the claim's MPS daemon."""
        claim = self._with_usages(claim, document)
        own = tuple(_own(claim))
        if all(each.usage == AS_IT_IS and each.share_id is None for each in own):
            return claim
        async with self._locked(own):
            claim, mps_set = await self._written_down(claim)
            for device in _own(claim):
                if device.usage is not None and device.usage.time_slice is not None:
                    await self._set_time_slice(claim, device, device.usage.time_slice)
            return claim if mps_set is None else await self._served(claim, mps_set)

    async def release(self, claim: StoredClaim) -> None:
        """Put time slices back and end the MPS daemon, where no other claim shares them."""
        async with self._locked(_own(claim)):
            await self._in_thread(self._release, claim)

    async def look_after(self, claims: Iterable[StoredClaim]) -> None:
        """Start MPS daemons anew that have died, of claims that are prepared."""
        sets = {each.mps_set: claim for claim in claims for each in _own(claim) if each.mps_set}
        for name, claim in sets.items():
            async with self._locked(_own(claim)):
                await self._revive(name, claim)

    def _release(self, claim: StoredClaim) -> None:
        own = tuple(_own(claim))
        others = [each for _, each in self._read_others(claim)]
        slices = {uuid for each in others if _takes_turns(each) for uuid in each.uuids}
        for gpu in sorted({uuid for each in own if _is_whole(each) for uuid in each.uuids}):
            if gpu not in slices:
                self._sharer.put_back_time_slice(gpu)
        # Its own as well where nothing says so: what a reboot ended may not be said any more.
        sets = {_set_name(claim), *(each.mps_set for each in own if each.mps_set)}
        for name in sorted(sets - {each.mps_set for each in others}):
            self._sharer.end(name)

    async def _revive(self, name: str, claim: StoredClaim) -> None:
        try:
            if await self._in_thread(self._sharer.revive, name):
                logs.warning("mps_restarted", claim=str(claim), set=name)
        except PlumblineError as error:
            if self._faults.get(name) != str(error):
                logs.error(
                    "mps_failed", claim=str(claim), set=name, error=error, doing="trying again"
                )
            self._faults[name] = str(error)
        else:
            self._faults.pop(name, None)

    def _with_usages(self, claim: StoredClaim, document: Mapping[str, Any]) -> StoredClaim:
        usages = read_usages(document, self._driver, [_asked(each) for each in claim.devices])
        devices = []
        for device, usage in zip(claim.devices, usages, strict=True):
            self._refuse(device, usage)
            # Who looks on changes nothing for those who have it.
            applied = AS_IT_IS if device.admin else usage
            devices.append(replace(device, usage=applied))
        return replace(claim, devices=tuple(devices))

    def _refuse(self, device: StoredDevice, usage: Usage) -> None:
        """Refuse what contradicts. Raises ClaimError."""
        if device.admin:
            if usage.mps is not None:
                raise ClaimError(
                    f"{device.device}: MPS takes a device over, and adminAccess only looks on; let"
                    " the configuration name other requests"
                )
            return
        for uuid in device.uuids if usage != AS_IT_IS else ():
            if (why := self._obstacle(uuid, usage)) is not None:
                raise ClaimError(f"{device.device}: {why}")

    async def _written_down(self, claim: StoredClaim) -> tuple[StoredClaim, MpsSet | None]:
        """Write down what is to be done; return that, and what an MPS daemon is to serve.

        Raises ClaimError when other claims are in the way.
        """
        others = await self._in_thread(self._read_others, claim)
        own = [(claim, each) for each in _own(claim)]
        for _, device in own:
            for other, theirs in (*own, *others):
                if _differs(device, theirs, other):
                    both = (
                        f"requests {device.request} and {theirs.request}"
                        if other is claim
                        else f"claims {claim} and {other}"
                    )
                    raise ClaimError(
                        f"{both} have {device.device} together, and use it differently; give both"
                        " the same configuration"
                    )
        mps_set = _wanted_set(claim)
        if mps_set is not None:
            mps_set = _joined(mps_set, others)
            claim = _with_mps(claim, partial(replace, mps_set=mps_set.name))
        await self._in_thread(self._store.write, claim)
        return claim, mps_set

    async def _set_time_slice(
        self, claim: StoredClaim, device: StoredDevice, time_slice: TimeSlice
    ) -> None:
        for gpu in device.uuids:
            await self._in_thread(self._sharer.set_time_slice, gpu, time_slice)
        logs.event("time_slice", claim=str(claim), gpus=device.uuids, set=time_slice.value)

    async def _served(self, claim: StoredClaim, mps_set: MpsSet) -> StoredClaim:
        rendezvous = await self._in_thread(self._sharer.serve, mps_set)
        logs.event("mps_serving", claim=str(claim), set=mps_set.name, gpus=mps_set.gpus)
        told, seen = rendezvous_env(rendezvous), rendezvous_mounts(rendezvous)
        return _with_mps(claim, partial(replace, env=told, mounts=seen))

    def _read_others(self, claim: StoredClaim) -> list[tuple[StoredClaim, StoredDevice]]:
        """Return the devices of other claims, as they are written down. Blocking."""
        claims, _ = self._store.read()
        return [(each, own) for each in claims if each.uid != claim.uid for own in _own(each)]

    @contextlib.asynccontextmanager
    async def _locked(self, devices: Iterable[StoredDevice]) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as held:
            # In one order everywhere: two claims do not wait for each other.
            for uuid in sorted({uuid for each in devices for uuid in each.uuids}):
                await held.enter_async_context(self._locks[uuid])
            yield


def _own(claim: StoredClaim) -> Iterator[StoredDevice]:
    """Yield the devices that a claim has, and does not only look at."""
    return (each for each in claim.devices if not each.admin)


def _asked(device: StoredDevice) -> Asked:
    request = f"{device.request}/{device.subrequest}" if device.subrequest else device.request
    return Asked(request=request, kind=ConfigKind.GPU if _is_whole(device) else ConfigKind.MIG)


def _is_whole(device: StoredDevice) -> bool:
    return device.place is None and device.uuids == device.gpus


def _takes_turns(device: StoredDevice) -> bool:
    return device.usage is not None and device.usage.time_slice is not None


def _differs(device: StoredDevice, theirs: StoredDevice, other: StoredClaim) -> bool:
    """Return True for one device that another claim has, and uses otherwise.

    One that is just being prepared has yet to look at this one.
    """
    if not set(device.uuids) & set(theirs.uuids):
        return False
    known = AS_IT_IS if theirs.usage is None and other.state == "completed" else theirs.usage
    return known is not None and known != device.usage


def _set_name(claim: StoredClaim) -> str:
    # Short: a socket below has a path of at most 107 bytes. What is left of the UID is random.
    return "claim-" + "-".join(claim.uid.split("-")[:2])


def _wanted_set(claim: StoredClaim) -> MpsSet | None:
    """Return what the MPS daemon of a claim serves; None for a claim without.

    Raises ClaimError for what one daemon cannot do.
    """
    served = [each for each in _own(claim) if each.usage is not None and each.usage.mps]
    if not served:
        return None
    usages = [each.usage.mps for each in served if each.usage is not None]
    if usages[0] is None or any(each != usages[0] for each in usages):
        requests = ", ".join(dict.fromkeys(each.request for each in served))
        raise ClaimError(
            f"requests {requests} have different MPS configurations, and a claim has one MPS"
            " daemon; let one configuration name them all, or make a claim for each"
        )
    devices = dict.fromkeys(uuid for each in served for uuid in each.uuids)
    return claim_set(served[0].mps_set or _set_name(claim), tuple(devices), usages[0])


def _joined(wanted: MpsSet, others: list[tuple[StoredClaim, StoredDevice]]) -> MpsSet:
    """Return the set of a claim with which devices are shared; without such the wanted one.

    Raises ClaimError when theirs has other devices.
    """
    for other, each in others:
        if each.mps_set is None or not set(each.uuids) & set(wanted.gpus):
            continue
        theirs = _wanted_set(other)
        if theirs is None or not theirs.is_like(wanted):
            raise ClaimError(
                f"the MPS daemon of claim {other} serves other devices than"
                f" {', '.join(wanted.gpus)}; claims that share a GPU through MPS must have the same"
                " GPUs and limits"
            )
        return theirs
    return wanted


def _with_mps(claim: StoredClaim, change: Callable[[StoredDevice], StoredDevice]) -> StoredClaim:
    """Return a claim with what its MPS daemon serves changed."""
    devices = (
        change(each) if not each.admin and each.usage is not None and each.usage.mps else each
        for each in claim.devices
    )
    return replace(claim, devices=tuple(devices))
