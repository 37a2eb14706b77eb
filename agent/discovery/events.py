"""Watches the driver: Xid events, GPUs that stop answering, GPUs that change.

Two threads, because NVML blocks: one waits for events, the other glances at every GPU now and
then. A GPU that hangs on a glance thus keeps no other GPU's Xid from being heard.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable

import pynvml
from msgspec import Struct

from agent.discovery.device_nodes import capability_nodes
from agent.discovery.faults import explain, optional, translated
from agent.discovery.gpus import Handle
from agent.discovery.library import Session
from agent.discovery.link_states import link_states
from agent.discovery.mig import device_uuids, known_instance

# How long one wait lasts: also the longest a stop waits for a thread that NVML lets go.
WAIT_MS = 500
BACK_OFF_S = (0.0, 1.0, 2.0, 5.0, 10.0)
# A watch that held this long ended for a new reason: back-off starts over.
CALM_S = 60.0


class XidEvent(Struct, frozen=True, kw_only=True):
    """The driver reported a critical error on a GPU, or on a part of one."""

    uuid: str
    """Of the GPU."""
    xid: int
    gpu_instance: int | None = None
    """None: the whole GPU."""
    compute_instance: int | None = None
    """None: every one in the GPU instance."""


class UnattributedXid(Struct, frozen=True, kw_only=True):
    """The driver reported a critical error on a GPU we cannot name."""

    xid: int
    reason: str


class UnwatchedGpu(Struct, frozen=True, kw_only=True):
    """A GPU's Xids cannot be heard: because it has none to tell, or because of a fault."""

    uuid: str
    reason: str
    faulty: bool


class GpusChanged(Struct, frozen=True, kw_only=True):
    """The set of GPUs, their readiness, MIG mode or MIG devices are not what they were."""


class NicsChanged(Struct, frozen=True, kw_only=True):
    """The set of RDMA devices, or which of their ports are up, is not what it was."""


class WatchFault(Struct, frozen=True, kw_only=True):
    """Watching failed and is tried again: what happens meanwhile may be missed."""

    reason: str


Observation = XidEvent | UnattributedXid | UnwatchedGpu | GpusChanged | NicsChanged | WatchFault


class Watch:
    """The watching threads. ``notify`` is called on them for every observation."""

    def __init__(
        self,
        session: Session,
        notify: Callable[[Observation], None],
        *,
        look_every_s: float,
    ) -> None:
        """Prepare to watch the GPUs of an open session."""
        self.look_every_s = look_every_s
        self.dev_root = "/"
        """Where the node's /dev is mounted for us."""
        self.sees_nics = False
        """Whether RDMA devices are looked at as well."""
        self._session = session
        self._notify = notify
        self._stop = threading.Event()
        self._changed = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start watching: whatever happens after this call is noticed.

        Raises HardwareError (NoDriverError) when the driver does not let us.
        """
        with translated("watching the GPUs"):
            known = self._fingerprint()
            events = _EventSet(self._notify)
        links = self._links()
        self._threads = [
            threading.Thread(target=self._listen, args=(events,), name="nvml-events", daemon=True),
            threading.Thread(target=self._look, args=(known, links), name="nvml-look", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> bool:
        """Stop watching; False when a thread is still inside the driver after a second."""
        self._stop.set()
        until = time.monotonic() + 2 * WAIT_MS / 1000
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _listen(self, events: _EventSet) -> None:
        failures = 0
        current: _EventSet | None = events
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                current = current or _EventSet(self._notify)
                current = self._listen_on(current)
            except pynvml.NVMLError as error:
                failures = 0 if time.monotonic() - started > CALM_S else failures
                self._notify(WatchFault(reason=explain(error)))
                self._stop.wait(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)])
                failures += 1
                current = self._renewed(current)
        if current is not None:
            current.free()

    def _listen_on(self, events: _EventSet) -> _EventSet:
        """Pass events on until the GPUs changed or the watch closes; return the set to go on."""
        while not self._stop.is_set():
            observation = events.wait(WAIT_MS)
            if observation is not None:
                self._notify(observation)
            if self._changed.is_set():
                self._changed.clear()
                return self._renewed(events) or events
        return events

    def _renewed(self, old: _EventSet | None) -> _EventSet | None:
        """Return a set for the GPUs of now, or None; the old one is emptied and given back.

        The new set listens before the old one is emptied: no event falls between.
        """
        try:
            fresh = _EventSet(self._notify)
        except pynvml.NVMLError as error:
            self._notify(WatchFault(reason=explain(error)))
            return old
        if old is not None:
            with contextlib.suppress(pynvml.NVMLError):
                while (observation := old.wait(0)) is not None:
                    self._notify(observation)
            old.free()
        return fresh

    def _look(self, known: tuple[object, ...], links: object) -> None:
        looked = time.monotonic()
        # In slices, so that a shorter interval takes effect soon.
        while not self._stop.wait(min(self.look_every_s, 1.0)):
            # A wait may end a moment early by this clock; that is no reason for another slice.
            if time.monotonic() - looked < 0.9 * self.look_every_s:
                continue
            looked = time.monotonic()
            # Before the GPUs: a driver that hangs must not hide a link.
            before, links = links, self._links()
            if links != before:
                self._notify(NicsChanged())
            try:
                seen = self._fingerprint()
            except pynvml.NVMLError as error:
                # Told once: the driver as a whole has stopped answering.
                seen = ("driver", error.value)
            if seen != known:
                known = seen
                self._changed.set()
                self._notify(GpusChanged())

    def _links(self) -> object:
        return link_states(self._session.machine) if self.sees_nics else None

    def _fingerprint(self) -> tuple[object, ...]:
        glances = tuple(_glance(index) for index in range(pynvml.nvmlDeviceGetCount()))
        nodes = capability_nodes(self._session.machine, self.dev_root)
        return (self._session.is_replaced, nodes, *glances)


class _EventSet:
    """An NVML event set registered for the Xids of every GPU that answers."""

    def __init__(self, notify: Callable[[Observation], None]) -> None:
        self._events = pynvml.nvmlEventSetCreate()
        # By handle: a GPU that is lost by the time of its event no longer tells its UUID.
        self._uuids: dict[int, str] = {}
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                unwatched = self._register(index)
                if unwatched is not None:
                    notify(unwatched)
        except pynvml.NVMLError:
            self.free()
            raise

    def free(self) -> None:
        """Give the set back. A driver that is gone by now is no reason to fail."""
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetFree(self._events)

    def wait(self, timeout_ms: int) -> Observation | None:
        """Return the next Xid; None when none came in time or it was another event."""
        try:
            event = pynvml.nvmlEventSetWait_v2(self._events, timeout_ms)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return None
            raise
        if event.eventType != pynvml.nvmlEventTypeXidCriticalError:
            return None
        xid = int(event.eventData)
        uuid = self._uuids.get(_identity(event.device))
        if uuid is None:
            return UnattributedXid(xid=xid, reason="the event names a GPU that was not listed")
        return XidEvent(
            uuid=uuid,
            xid=xid,
            gpu_instance=known_instance(event.gpuInstanceId),
            compute_instance=known_instance(event.computeInstanceId),
        )

    def _register(self, index: int) -> UnwatchedGpu | None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(handle)
        except pynvml.NVMLError:
            # Discovery reports it as unavailable; there is nothing of it to wait for.
            return None
        try:
            supported = pynvml.nvmlDeviceGetSupportedEventTypes(handle)
            if not supported & pynvml.nvmlEventTypeXidCriticalError:
                return UnwatchedGpu(uuid=uuid, reason="it reports no Xids", faulty=False)
            wanted = pynvml.nvmlEventTypeXidCriticalError
            pynvml.nvmlDeviceRegisterEvents(handle, wanted, self._events)
        except pynvml.NVMLError as error:
            unsupported = error.value == pynvml.NVML_ERROR_NOT_SUPPORTED
            return UnwatchedGpu(uuid=uuid, reason=explain(error), faulty=not unsupported)
        self._uuids[_identity(handle)] = uuid
        return None


def _identity(handle: Handle) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _glance(index: int) -> object:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        # The memory call reaches the hardware: a GPU that fell off the bus fails it.
        pynvml.nvmlDeviceGetMemoryInfo(handle)
        mode = optional(pynvml.nvmlDeviceGetMigMode, handle)
        instances = device_uuids(handle) if mode and mode[0] else ()
        return (pynvml.nvmlDeviceGetUUID(handle), None if mode is None else tuple(mode), instances)
    except pynvml.NVMLError as error:
        return int(error.value)
