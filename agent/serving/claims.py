"""Prepares claims: each once, each by itself, and whatever moment a process dies at.

A claim is written down before anything on the machine is changed for it, and again when it is
done. What an earlier process wrote down as done is answered from that; what it only began is
undone, and begun anew when it is asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from agent.model.errors import ClaimError, ClusterError, PlumblineError, describe
from agent.planning.claims import AllocatedClaim, Result, read_claim
from agent.planning.dra_devices import Subject
from agent.serving.claim_conflicts import conflict
from agent.serving.claim_specs import claim_device
from agent.serving.claim_stages import FileStage, Stage
from agent.serving.claim_store import (
    ClaimStore,
    StoredClaim,
    UnreadableFile,
    checked_uid,
    held_uuids,
)
from agent.serving.claim_subjects import stored_device, subject_of
from agent.serving.unreadable_claims import (
    UnreadableClaim,
    as_claim,
    held_unreadably,
    taken_unreadably,
)
from agent.telemetry import logs
from deviceplugin.dra.values import ClaimRef, Prepared, PreparedDevice, Refused, Released
from deviceplugin.pulse import Pulse

T = TypeVar("T")

# How long another claim is waited for that has what a claim is to have. The kubelet waits 45 s.
TAKEN_S = 30.0
# How long an API server is waited for that does not answer.
AWAY_S, _FIRST_PAUSE_S = 15.0, 0.25
# Devices that a message names.
_NAMED = 8
InThread = Callable[..., Awaitable[Any]]
Fetch = Callable[[ClaimRef], dict[str, Any]]
"""Returns a claim's object. Blocking; raises ClusterError."""


class _TakenError(ClaimError):
    """Another claim has it."""


class Home(Struct, frozen=True, kw_only=True):
    """Whose claims they are, and where."""

    driver: str
    pool: str
    boot: str
    """The node's boot id: what is made for a claim ends with the boot."""


class Offers(Protocol):
    """What a driver has to give."""

    def subjects(self) -> Mapping[str, Subject]:
        """Return what the names of devices stand for. Raises ClaimError while that is not known."""
        ...

    def fault(self, subject: Subject, result: Result) -> str | None:
        """Return why a subject must not be given for a result of a claim, whatever claims have;
        None where it may.
        """
        ...

    def addresses(self, subject: Subject) -> tuple[str, ...]:
        """Return where the GPUs of a subject are on the PCI bus."""
        ...


class Claims:
    """Everything here happens on the event loop but files and requests."""

    def __init__(
        self,
        store: ClaimStore,
        *,
        home: Home,
        fetch: Fetch,
        offers: Offers,
        stages: Sequence[Stage],
        files: Sequence[FileStage],
        in_thread: InThread,
        changed: Callable[[], None],
    ) -> None:
        """``stages`` come before ``files``, each in its order.

        ``changed`` is told of every change of what claims have, and once when that is loaded.
        """
        self._store = store
        self._home = home
        self._fetch = fetch
        self._offers = offers
        self._stages = (*stages, *files)
        self._files = files
        self._in_thread = in_thread
        self._changed = changed
        self._changes = 0
        self._told: tuple[Mapping[str, str], Mapping[str, Subject]] | None = None
        self._pulse = Pulse()
        self._claims: dict[str, StoredClaim] = {}
        self._unreadable: dict[str, UnreadableClaim] = {}
        self._at_work: dict[str, asyncio.Task[Any]] = {}

    async def load(self) -> None:
        """Take in what an earlier process wrote down, and undo what it only began.

        Raises HardwareError.
        """
        found, faults = await self._in_thread(self._store.read)
        for fault in faults:
            await self._note_unreadable(fault)
        self._claims = {claim.uid: claim for claim in found}
        await self._tidy()
        for claim in found:
            if claim.state == "started":
                await self._undo(claim)
        logs.event("claims_loaded", prepared=len(self._claims))
        self._note_change()

    async def _tidy(self) -> None:
        """Bring files into line with what is known, as far as the disk allows it."""
        try:
            for claim in tuple(self._claims.values()):
                # Its copy may be of an earlier state, or be all that there is.
                await self._in_thread(self._store.write, claim)
            await self._in_thread(self._store.sweep)
            # What is not written down was given to nobody.
            known = await self._in_thread(self._store.known)
            for files in self._files:
                await files.sweep(known)
        except PlumblineError as error:
            logs.error("claims_not_tidied", reason=error, doing="going on with what is known")

    async def _note_unreadable(self, fault: UnreadableFile) -> None:
        if fault.copied:
            logs.warning("claim_restored", error=fault, doing="going by its copy")
            return
        given = [await files.given(fault.uid) for files in self._files]
        devices = frozenset[str]().union(*given)
        self._unreadable[fault.uid] = UnreadableClaim(file=fault, devices=devices)
        logs.error(
            "claim_unreadable",
            error=fault,
            devices=tuple(sorted(devices)),
            doing="keeping what it has from others until it is given back",
        )

    @property
    def held(self) -> Mapping[str, str]:
        """Return which claims have what to themselves: names by UUID."""
        return held_unreadably(self._unreadable.values()) | held_uuids(self._claims.values())

    @property
    def allocated(self) -> Mapping[str, Subject]:
        """Return the devices that claims have, by name."""
        return {
            each.device: subject_of(each)
            for claim in self._claims.values()
            for each in claim.devices
        }

    @property
    def admin_only(self) -> frozenset[str]:
        """Return the devices that claims have beside others only, by name."""
        everyone = [each for claim in self._claims.values() for each in claim.devices]
        own = {each.device for each in everyone if not each.admin}
        return frozenset(each.device for each in everyone) - own

    @property
    def addresses(self) -> Mapping[str, str]:
        """Return where GPUs of claims were on the PCI bus, by UUID."""
        return {
            uuid: address
            for claim in self._claims.values()
            for each in claim.devices
            for uuid, address in zip(each.gpus, each.addresses, strict=False)
        }

    @property
    def changes(self) -> int:
        """Return how often claims have come or gone: the same number, the same claims."""
        return self._changes

    @property
    def known(self) -> tuple[StoredClaim, ...]:
        """Return every claim, begun and completed."""
        return tuple(self._claims.values())

    @property
    def unreadable(self) -> tuple[UnreadableClaim, ...]:
        """Return what is written down and cannot be read."""
        return tuple(self._unreadable.values())

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
            checked_uid(claim.uid)
            return await act(claim)
        except PlumblineError as error:
            logs.error("claim_refused", claim=str(claim), uid=claim.uid, reason=error)
            return Refused(reason=str(error))

    async def _prepare(self, ref: ClaimRef) -> Prepared:
        known = self._claims.get(ref.uid)
        if known is not None and known.state == "started":
            # An earlier try that could not be undone.
            await self._undo(known)
            if ref.uid in self._claims:
                raise ClaimError("what was begun for it could not be undone; see the agent's log")
            known = None
        if known is not None and known.boot == self._home.boot:
            for files in self._files:
                await files.renew(known)
            return self._answer(known)
        lost = self._unreadable.get(ref.uid)
        if lost is not None and lost.devices:
            # A try that failed would take with it what a container has.
            raise ClaimError(
                f"what it was given before cannot be read ({lost.file}); delete its pod, so that it"
                " is given back, and create it again"
            )
        document = await self._fetched(ref)
        claim = read_claim(document, uid=ref.uid, driver=self._home.driver, pool=self._home.pool)
        if not claim.results:
            return Prepared(devices=())
        # From here to the next await nobody else can take the same GPU.
        begun = await self._begun_when_free(claim)
        self._claims[ref.uid] = begun
        self._note_change()
        try:
            completed = await self._carried_out(begun, document)
        except BaseException:
            # A part that failed may have written down more than it returned.
            written = await self._in_thread(self._store.find, ref.uid)
            await self._undo(written or self._claims[ref.uid])
            raise
        logs.event(
            "claim_prepared",
            claim=str(ref),
            uid=ref.uid,
            devices=tuple(each.device for each in completed.devices),
        )
        return self._answer(completed)

    async def _fetched(self, ref: ClaimRef) -> dict[str, Any]:
        """Return a claim's object, also where the API server is away for a moment.

        A kubelet that is told of an error comes again only a minute later.
        """
        loop = asyncio.get_running_loop()
        deadline_s, pause_s = loop.time() + AWAY_S, _FIRST_PAUSE_S
        while True:
            try:
                return dict(await self._in_thread(self._fetch, ref))
            except ClusterError as error:
                if not error.may_pass or loop.time() + pause_s > deadline_s:
                    raise
                logs.warning("claim_not_read", claim=str(ref), error=error, again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s *= 2

    async def _carried_out(self, claim: StoredClaim, document: Mapping[str, Any]) -> StoredClaim:
        if any(stage.acts(claim, document) for stage in self._stages):
            await self._in_thread(self._store.write, claim)
        for stage in self._stages:
            self._claims[claim.uid] = claim = await stage.prepare(claim, document)
        completed = replace(claim, state="completed")
        await self._in_thread(self._store.write, completed)
        self._claims[claim.uid] = completed
        self._unreadable.pop(claim.uid, None)
        self._note_change()
        return completed

    async def _unprepare(self, ref: ClaimRef) -> Released:
        known = self._claims.get(ref.uid)
        if known is None and (lost := self._unreadable.get(ref.uid)) is not None:
            known = as_claim(lost, {})
        if known is None:
            for files in self._files:
                await files.forget(ref.uid)
            await self._in_thread(self._store.remove, ref.uid)
        else:
            await self._release(known)
            logs.event("claim_released", claim=str(ref), uid=ref.uid)
        return Released()

    async def _undo(self, claim: StoredClaim) -> None:
        """Undo what was begun; what cannot be stays known, and keeps others from what it has."""
        try:
            await self._release(claim)
        except PlumblineError as error:
            self._claims[claim.uid] = replace(claim, state="started")
            logs.error(
                "claim_not_undone",
                claim=str(claim),
                uid=claim.uid,
                reason=describe(error),
                doing="trying again with the next call for it",
            )

    async def _release(self, claim: StoredClaim) -> None:
        for stage in reversed(self._stages):
            await stage.release(claim)
        await self._in_thread(self._store.remove, claim.uid)
        self._claims.pop(claim.uid, None)
        self._unreadable.pop(claim.uid, None)
        self._note_change()

    async def _begun_when_free(self, claim: AllocatedClaim) -> StoredClaim:
        """Return a claim with what it is to have, once another claim has given it back.

        A pod that is deleted by force ends on the node after its claim has been given to
        another. A kubelet that is refused comes again only a minute later.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + TAKEN_S
        while True:
            try:
                return self._begun(claim)
            except _TakenError as taken:
                left_s = deadline_s - loop.time()
                if left_s <= 0:
                    raise
                logs.debug("claim_waits", claim=f"{claim.namespace}/{claim.name}", reason=taken)
                changes = self._changes
                await self._pulse.until(partial(self._is_news, changes), timeout_s=left_s)

    def _is_news(self, changes: int) -> bool:
        return self._changes != changes

    def _note_change(self) -> None:
        self._changes += 1
        self._pulse.fire()
        told = (self.held, self.allocated)
        if told != self._told:
            self._told = told
            self._changed()

    def _begun(self, claim: AllocatedClaim) -> StoredClaim:
        """Return a claim with what it is to have. Raises ClaimError for what it cannot have."""
        subjects = self._offers.subjects()
        others = [each for each in self._claims.values() if each.uid != claim.uid]
        unreadable = [each for uid, each in self._unreadable.items() if uid != claim.uid]
        devices = []
        for result in claim.results:
            subject = subjects.get(result.device)
            if subject is None:
                raise ClaimError(f"this node has no device {result.device}; {_there(subjects)}")
            device = stored_device(result, subject, self._offers.addresses(subject))
            if (other := conflict(device, others)) is not None:
                raise _TakenError(f"{result.device} is claimed by {other}")
            if (lost := taken_unreadably(device, unreadable, subjects)) is not None:
                raise _TakenError(
                    f"{result.device} is claimed already, and the claim's file cannot be read"
                    f" ({lost.file}); it is free when the claim's pod has ended"
                )
            if not result.admin and (fault := self._offers.fault(subject, result)) is not None:
                raise ClaimError(f"{result.device}: {fault}")
            devices.append(device)
        return StoredClaim(
            namespace=claim.namespace,
            name=claim.name,
            uid=claim.uid,
            state="started",
            boot=self._home.boot,
            devices=tuple(devices),
        )

    def _answer(self, claim: StoredClaim) -> Prepared:
        return Prepared(
            devices=tuple(
                PreparedDevice(
                    requests=(each.request,),
                    pool=each.pool,
                    device=each.device,
                    cdi_devices=(
                        claim_device(self._home.driver, claim.uid, each),
                        *each.cdi_devices,
                    ),
                    share_id=each.share_id,
                )
                for each in claim.devices
            )
        )


def _there(subjects: Mapping[str, Subject]) -> str:
    """Return what there is instead, as far as a pod's event has room for it."""
    named = ", ".join(list(subjects)[:_NAMED])
    rest = f", and {len(subjects) - _NAMED} more" if len(subjects) > _NAMED else ""
    return f"it has {named or 'none'}{rest}; plumbline slices prints them"
