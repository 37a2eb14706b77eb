"""Watches the driver: Xid events, GPUs that stop answering, GPUs that change.

One thread does all of it, because NVML's wait blocks. It wakes for an event at once, and now
and then to look whether the GPUs are still the ones it knew.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pynvml

from agent.discovery.faults import explain, optional
from agent.discovery.gpus import Handle
from agent.discovery.library import Session

# How long one wait lasts: also the longest a stop waits for the thread.
WAIT_MS = 500
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0)
# A watch that held this long ended for a new reason: back-off starts over.
CALM_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class XidEvent:
    """The driver reported a critical error on a GPU."""

    uuid: str
    xid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnattributedXid:
    """The driver reported a critical error on a GPU we cannot name."""

    xid: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpusChanged:
    """The set of GPUs, their readiness or their MIG mode is not what it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFault:
    """Watching failed and is tried again: what happens meanwhile may be missed."""

    reason: str


Observation = XidEvent | UnattributedXid | GpusChanged | WatchFault


class Watch:
    """The watching thread. ``notify`` is called on that thread for every observation."""

    def __init__(
        self,
        session: Session,
        notify: Callable[[Observation], None],
        *,
        look_every_s: float,
    ) -> None:
        """Prepare to watch the GPUs of an open session."""
        # Held so that NVML outlives the thread.
        self._session = session
        self._notify = notify
        self.look_every_s = look_every_s
        self._stop = threading.Event()
        self._known: tuple[object, ...] | None = None
        self._thread = threading.Thread(target=self._run, name="nvml-events", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._known = _fingerprint()
        self._thread.start()

    def close(self) -> None:
        """Stop watching; returns within a second."""
        self._stop.set()
        self._thread.join(timeout=2 * WAIT_MS / 1000)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self._watch(_EventSet())
            except pynvml.NVMLError as error:
                if time.monotonic() - started > CALM_S:
                    failures = 0
                self._notify(WatchFault(reason=explain(error)))
                self._stop.wait(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)])
                failures += 1

    def _watch(self, events: _EventSet) -> None:
        try:
            while not self._stop.is_set():
                self._listen(events, self.look_every_s)
                if self._changed():
                    # The new set listens before the old one is emptied: no event falls between.
                    fresh = _EventSet()
                    self._listen(events, 0)
                    events.free()
                    events = fresh
        finally:
            events.free()

    def _listen(self, events: _EventSet, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop.is_set():
            left_ms = int(1000 * (until - time.monotonic()))
            observation = events.wait(max(0, min(WAIT_MS, left_ms)))
            if observation is not None:
                self._notify(observation)
            elif left_ms <= 0:
                return

    def _changed(self) -> bool:
        seen = _fingerprint()
        if seen == self._known:
            return False
        self._known = seen
        self._notify(GpusChanged())
        return True


class _EventSet:
    """An NVML event set registered for the Xids of every GPU that answers."""

    def __init__(self) -> None:
        self._events = pynvml.nvmlEventSetCreate()
        # By handle: a GPU that is lost by the time of its event no longer tells its UUID.
        self._uuids: dict[int, str] = {}
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                self._register(index)
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
        return XidEvent(uuid=uuid, xid=xid)

    def _register(self, index: int) -> None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(handle)
            supported = optional(pynvml.nvmlDeviceGetSupportedEventTypes, handle) or 0
            wanted = supported & pynvml.nvmlEventTypeXidCriticalError
            if wanted:
                pynvml.nvmlDeviceRegisterEvents(handle, wanted, self._events)
                self._uuids[_identity(handle)] = uuid
        except pynvml.NVMLError:
            # Discovery reports it as unavailable; there is nothing of it to wait for.
            return


def _identity(handle: Handle) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _fingerprint() -> tuple[object, ...]:
    return tuple(_glance(index) for index in range(pynvml.nvmlDeviceGetCount()))


def _glance(index: int) -> object:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        # The memory call reaches the hardware: a GPU that fell off the bus fails it.
        pynvml.nvmlDeviceGetMemoryInfo(handle)
        mode = optional(pynvml.nvmlDeviceGetMigMode, handle)
        return (pynvml.nvmlDeviceGetUUID(handle), None if mode is None else tuple(mode))
    except pynvml.NVMLError as error:
        return int(error.value)
