"""Prepares claims: each once, each by itself, and whatever moment a process dies at.

A claim is written down before anything is done for it, and again when it is done. What an
earlier process wrote down as done is answered from that; what it only began is begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agent.ledger.ledger import Ledger
from agent.model.errors import ClaimError, PlumblineError
from agent.model.inventory import Gpu
from agent.planning import cdi, pool
from agent.planning.claims import AllocatedClaim, Result, read_claim
from agent.planning.snapshot import Snapshot
from agent.serving.claim_specs import claim_device, has_spec, remove_spec, write_spec
from agent.serving.claim_store import ClaimStore, StoredClaim, StoredDevice
from agent.telemetry import logs
from deviceplugin.dra.values import ClaimRef, Prepared, PreparedDevice, Refused, Released

T = TypeVar("T")
InThread = Callable[..., Awaitable[Any]]
Fetch = Callable[[ClaimRef], dict[str, Any]]
"""Returns a claim's object. Blocking; raises ClusterError."""


class Claims:
    """Everything here happens on the event loop but files and requests."""

    def __init__(
        self,
        store: ClaimStore,
        *,
        driver: str,
        pool_name: str,
        spec_dir: Path,
        fetch: Fetch,
        state: Callable[[], tuple[Snapshot | None, Ledger]],
        in_thread: InThread,
        changed: Callable[[], None],
    ) -> None:
        """``state`` returns what is known of the node; ``changed`` is told of every change."""
        self._store = store
        self._driver = driver
        self._pool = pool_name
        self._spec_dir = spec_dir
        self._fetch = fetch
        self._state = state
        self._in_thread = in_thread
        self._changed = changed
        self._claims: dict[str, StoredClaim] = {}
        self._at_work: dict[str, asyncio.Task[Any]] = {}

    async def load(self) -> None:
        """Take in what an earlier process wrote down. Raises HardwareError."""
        found, faults = await self._in_thread(self._store.read)
        for fault in faults:
            logs.error("claim_unreadable", error=fault, doing="leaving it as it is")
        for claim in found:
            if claim.state == "completed":
                self._claims[claim.uid] = claim
            else:
                await self._in_thread(self._forget, claim.uid)
        logs.event("claims_loaded", prepared=len(self._claims))

    @property
    def held(self) -> Mapping[str, str]:
        """Return which claims have GPUs to themselves: names by UUID."""
        return {
            device.uuid: f"{claim.namespace}/{claim.name}"
            for claim in self._claims.values()
            for device in claim.devices
            if not device.admin
        }

    @property
    def known(self) -> tuple[StoredClaim, ...]:
        """Return every claim, begun and completed."""
        return tuple(self._claims.values())

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, Prepared | Refused]:
        """Prepare claims, at once; see ClaimBackend."""
        return await self._each(claims, self._prepare)

    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, Released | Refused]:
        """Give claims back, at once; see ClaimBackend."""
        return await self._each(claims, self._unprepare)

    async def _each(
        self, claims: Iterable[ClaimRef], act: Callable[[ClaimRef], Awaitable[T]]
    ) -> dict[str, T | Refused]:
        asked = list(claims)
        found = await asyncio.gather(*(self._joined(claim, act) for claim in asked))
        return {claim.uid: each for claim, each in zip(asked, found, strict=True)}

    async def _joined(
        self, claim: ClaimRef, act: Callable[[ClaimRef], Awaitable[T]]
    ) -> T | Refused:
        """Act for one claim after what is under way for it; go on when the kubelet gives up."""
        while (task := self._at_work.get(claim.uid)) is not None:
            await asyncio.wait([task])
        task = self._at_work[claim.uid] = asyncio.ensure_future(self._answered(claim, act))
        task.add_done_callback(lambda _: self._at_work.pop(claim.uid, None))
        return await asyncio.shield(task)

    async def _answered(
        self, claim: ClaimRef, act: Callable[[ClaimRef], Awaitable[T]]
    ) -> T | Refused:
        try:
            return await act(claim)
        except PlumblineError as error:
            logs.error("claim_refused", claim=str(claim), uid=claim.uid, reason=error)
            return Refused(reason=str(error))

    async def _prepare(self, ref: ClaimRef) -> Prepared:
        known = self._claims.get(ref.uid)
        if known is not None:
            await self._keep_spec(known)
            return _answer(known)
        document = await self._in_thread(self._fetch, ref)
        claim = read_claim(document, uid=ref.uid, driver=self._driver, pool=self._pool)
        if not claim.results:
            return Prepared(devices=())
        # From here to the next await nobody else can take the same GPU.
        devices = self._resolved(claim)
        started = _stored(claim, devices, "started")
        self._claims[ref.uid] = started
        self._changed()
        try:
            await self._in_thread(self._store.write, started)
            await self._in_thread(self._write_spec, ref.uid, devices)
            completed = _stored(claim, devices, "completed")
            await self._in_thread(self._store.write, completed)
        except BaseException:
            del self._claims[ref.uid]
            self._changed()
            await self._in_thread(self._forget, ref.uid)
            raise
        self._claims[ref.uid] = completed
        logs.event(
            "claim_prepared",
            claim=str(ref),
            uid=ref.uid,
            devices=tuple(result.device for result, _ in devices),
        )
        self._changed()
        return _answer(completed)

    async def _unprepare(self, ref: ClaimRef) -> Released:
        known = self._claims.get(ref.uid)
        await self._in_thread(self._forget, ref.uid)
        if known is not None:
            del self._claims[ref.uid]
            logs.event("claim_released", claim=str(ref), uid=ref.uid)
            self._changed()
        return Released()

    def _forget(self, uid: str) -> None:
        remove_spec(self._spec_dir, uid)
        self._store.remove(uid)

    async def _keep_spec(self, claim: StoredClaim) -> None:
        """Write the specification of a prepared claim again where a reboot has taken it away."""
        if await self._in_thread(has_spec, self._spec_dir, claim.uid):
            return
        snapshot = self._snapshot()
        found = [(each, snapshot.gpu(each.uuid)) for each in claim.devices]
        if lost := [each.uuid for each, gpu in found if gpu is None]:
            raise ClaimError(f"{', '.join(lost)} of claim {claim.name}: no longer on this node")
        gpus = [(each.device, gpu) for each, gpu in found if gpu is not None]
        await self._in_thread(self._write, claim.uid, gpus)

    def _write_spec(self, uid: str, devices: Sequence[tuple[Result, Gpu]]) -> None:
        self._write(uid, [(result.device, gpu) for result, gpu in devices])

    def _write(self, uid: str, devices: Sequence[tuple[str, Gpu]]) -> None:
        snapshot = self._snapshot()
        around = cdi.Surroundings(
            control_nodes=snapshot.inventory.control_nodes,
            dev_root=cdi.Root(host=snapshot.config.flags.dev_root),
        )
        write_spec(self._spec_dir, uid, devices, around)

    def _resolved(self, claim: AllocatedClaim) -> list[tuple[Result, Gpu]]:
        """Return the GPUs of a claim. Raises ClaimError for one that cannot be given."""
        snapshot = self._snapshot()
        known = pool.gpus_by_device(snapshot)
        found = []
        for result in claim.results:
            gpu = known.get(result.device)
            if gpu is None:
                there = ", ".join(known) or "none"
                raise ClaimError(f"this node has no device {result.device}; it has {there}")
            self._refuse(gpu, result, snapshot)
            found.append((result, gpu))
        return found

    def _refuse(self, gpu: Gpu, result: Result, snapshot: Snapshot) -> None:
        if result.admin:
            return
        if (why := pool.reason(snapshot, gpu.uuid)) is not None:
            raise ClaimError(f"{result.device} is unhealthy: {why}")
        if (other := self.held.get(gpu.uuid)) is not None:
            raise ClaimError(f"{result.device} is claimed by {other}")
        _, ledger = self._state()
        for each in ledger.pods_with(gpu.uuid):
            holder = each.holder or "a pod that is being started"
            raise ClaimError(
                f"{result.device} is held as {each.resource} by {holder}, through the device plugin"
            )

    def _snapshot(self) -> Snapshot:
        snapshot, _ = self._state()
        if snapshot is None:
            raise ClaimError("the node's GPUs have not been read yet")
        return snapshot


def _stored(
    claim: AllocatedClaim, devices: Iterable[tuple[Result, Gpu]], state: str
) -> StoredClaim:
    return StoredClaim(
        namespace=claim.namespace,
        name=claim.name,
        uid=claim.uid,
        state="completed" if state == "completed" else "started",
        devices=tuple(
            StoredDevice(
                request=result.request,
                pool=result.pool,
                device=result.device,
                uuid=gpu.uuid,
                admin=result.admin,
                share_id=result.share_id,
            )
            for result, gpu in devices
        ),
    )


def _answer(claim: StoredClaim) -> Prepared:
    return Prepared(
        devices=tuple(
            PreparedDevice(
                requests=(each.request,),
                pool=each.pool,
                device=each.device,
                cdi_devices=(claim_device(claim.uid, each.device),),
                share_id=each.share_id,
            )
            for each in claim.devices
        )
    )
