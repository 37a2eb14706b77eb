"""Keeps one resource served and registered, whatever the kubelet does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from deviceplugin.backend import Backend
from deviceplugin.delays import Delays, Timing
from deviceplugin.endpoint import Endpoint
from deviceplugin.files import FileIdentity
from deviceplugin.observer import Observer, notify
from deviceplugin.offer import Offer
from deviceplugin.pulse import Pulse, undisturbed
from deviceplugin.registration import RegistrationFailed, register
from deviceplugin.service import Service, Stream
from deviceplugin.values import Device

# Sockets that are removed again and again under a kubelet that lives must not add up.
_RETIRING_AT_MOST = 4


class Surroundings(Struct, frozen=True, kw_only=True):
    """What every resource of one directory shares."""

    kubelet_socket: Path
    registers: bool
    """False: serve the socket and tell no kubelet."""
    kubelet: Callable[[], FileIdentity | None]
    """Which kubelet.sock is there, if registering is allowed at all."""
    backend: Backend
    observer: Observer
    timing: Timing


class Resource:
    """One resource name: its offer, its server, its registration.

    A kubelet knows this resource while it holds a ListAndWatch stream that was opened since
    that kubelet appeared. Everything else leads to a new registration, at once for a kubelet
    that is new, with back-off for one that was tried before.
    """

    def __init__(
        self, name: str, devices: tuple[Device, ...], *, socket: Path, around: Surroundings
    ) -> None:
        """Prepare to serve ``devices`` on ``socket``."""
        self.socket = socket
        self._name = name
        self._around = around
        self._offer = Offer(devices)
        self._pulse = Pulse()
        self._delays = Delays(around.timing)
        self._endpoint: Endpoint[Service] | None = None
        self._retiring: dict[Endpoint[Service], asyncio.Task[None]] = {}
        self._known_by: FileIdentity | None = None
        self._known_since_s = 0.0
        self._tried: FileIdentity | None = None
        self._stream_lost = False
        self._stream_due = False
        self._withdrawn = False
        self._leaving = False

    def offer(self, devices: tuple[Device, ...]) -> None:
        """Change the devices; told to the kubelet only if they differ, and not on leaving."""
        if not self._withdrawn and devices != self._offer.wanted:
            self._offer.change(devices)
            self._pulse.fire()

    def look(self) -> None:
        """Re-examine everything: something changed in the directory."""
        self._pulse.fire()

    def repeat(self) -> None:
        """Tell a kubelet that listens what it knows already."""
        for endpoint in self._endpoints():
            endpoint.service.repeat()

    def withdraw(self) -> None:
        """Make ``run`` tell the kubelet that there is no such resource any more, and return."""
        self._withdrawn = True
        self._offer.change(())
        self._pulse.fire()

    def leave(self) -> None:
        """Make ``run`` return as soon as it can."""
        self._leaving = True
        self._pulse.fire()

    async def run(self) -> None:
        """Serve and stay registered until withdrawn or told to leave.

        A resource that is withdrawn ends with an empty list, which takes a while (see Offer).
        One that leaves only ends its streams: to the kubelet its devices are unhealthy from
        then on, and the list is as it was for the next who offers them.
        """
        seeing_off = asyncio.create_task(self._see_off())
        try:
            while await self._needed():
                await self._attempt()
            await self._pulse.until(
                lambda: self._leaving or self._is_told_all(),
                timeout_s=self._around.timing.quiet_s + self._around.timing.drain_s,
            )
        finally:
            seeing_off.cancel()
            # It may be on its way out already when everything is cancelled.
            await undisturbed(self._leave())

    async def _needed(self) -> bool:
        """Wait until an attempt is due; False when the resource was withdrawn."""
        while True:
            await self._pulse.until(lambda: self._is_going() or self._is_unknown())
            if self._is_going():
                return False
            if self._around.kubelet() != self._tried:
                self._delays.reset()
                return True
            if await self._pause():
                return True

    async def _pause(self) -> bool:
        """Wait before the next attempt with the same kubelet; False when things changed."""
        lived_s = asyncio.get_running_loop().time() - self._known_since_s
        was_stable = self._known_by is not None and lived_s >= self._around.timing.stable_s
        # That our socket was removed does not speak against the kubelet.
        if was_stable or not self._is_served():
            self._delays.reset()
        changed = await self._pulse.until(
            lambda: self._is_going() or self._around.kubelet() not in (None, self._tried),
            timeout_s=self._delays.next_s(),
        )
        return not changed and self._is_unknown()

    def _is_unknown(self) -> bool:
        """Return whether there is a kubelet that does not know this resource as it is."""
        if not self._around.registers:
            return not self._is_served()
        kubelet = self._around.kubelet()
        if kubelet is None:
            return False
        return self._stream_lost or self._known_by != kubelet or not self._is_served()

    def _is_served(self) -> bool:
        return self._endpoint is not None and self._endpoint.intact

    async def _attempt(self) -> None:
        kubelet = self._around.kubelet()
        if not self._around.registers:
            await self._only_serve()
            return
        if kubelet is None:
            return
        started_s = asyncio.get_running_loop().time()
        self._tried = kubelet
        self._known_by = None
        try:
            endpoint = await self._serve()
            self._stream_lost = False
            self._stream_due = True
            await self._register(endpoint, kubelet)
            await self._await_stream(kubelet, started_s)
        except (OSError, RegistrationFailed) as failure:
            # A slow kubelet may have done in time what it answered too late.
            if not self._is_attached(kubelet, started_s):
                self._stream_due = self._is_going()
                if not self._is_going():
                    notify(self._around.observer.register_failed, self._name, str(failure))
                return
        self._stream_due = False
        self._known_by = kubelet
        self._known_since_s = asyncio.get_running_loop().time()

    async def _only_serve(self) -> None:
        try:
            await self._serve()
        except OSError as error:
            notify(self._around.observer.register_failed, self._name, str(error))

    async def _serve(self) -> Endpoint[Service]:
        """Return an endpoint whose socket is there, replacing one whose socket is not."""
        if self._endpoint is not None:
            if self._endpoint.intact:
                return self._endpoint
            notify(self._around.observer.own_socket_lost, self._name)
            await self._retire(self._endpoint)
            self._endpoint = None
        endpoint = Endpoint(self.socket, self._new_service())
        await endpoint.open()
        self._endpoint = endpoint
        return endpoint

    def _new_service(self) -> Service:
        return Service(
            self._name,
            self._offer,
            backend=self._around.backend,
            observer=self._around.observer,
            pulse=self._pulse,
            kubelet=self._around.kubelet,
            stream_ended=self._note_ended_stream,
        )

    def _note_ended_stream(self, stream: Stream) -> None:
        # The kubelet takes the end of any of its streams for the end of the resource, even
        # where it holds a newer one. Streams of an earlier kubelet do not count.
        if stream.kubelet is not None and stream.kubelet == self._around.kubelet():
            self._stream_lost = True

    async def _retire(self, endpoint: Endpoint[Service]) -> None:
        """Let an endpoint live on without its socket for as long as it has streams.

        Ending a stream that still works would make the kubelet drop the resource.
        """
        if len(self._retiring) == _RETIRING_AT_MOST:
            oldest, closing = next(iter(self._retiring.items()))
            oldest.service.finish()
            await closing
        self._retiring[endpoint] = asyncio.create_task(self._close_when_idle(endpoint))

    async def _close_when_idle(self, endpoint: Endpoint[Service]) -> None:
        await self._pulse.until(lambda: not endpoint.service.streams)
        await endpoint.close()
        self._retiring.pop(endpoint, None)

    async def _register(self, endpoint: Endpoint[Service], kubelet: FileIdentity) -> None:
        """Register; raise RegistrationFailed also when it has become pointless meanwhile."""
        calling = asyncio.create_task(
            register(
                self._around.kubelet_socket,
                self._name,
                endpoint=endpoint.path.name,
                timeout_s=self._around.timing.register_timeout_s,
            )
        )
        overtaken = asyncio.create_task(self._pulse.until(lambda: self._is_overtaken(kubelet)))
        try:
            await asyncio.wait({calling, overtaken}, return_when=asyncio.FIRST_COMPLETED)
            if not calling.done():
                raise RegistrationFailed("given up: a socket was replaced meanwhile")
            calling.result()
        finally:
            calling.cancel()
            overtaken.cancel()
            await asyncio.gather(calling, overtaken, return_exceptions=True)
        notify(self._around.observer.registered, self._name)

    async def _await_stream(self, kubelet: FileIdentity, since_s: float) -> None:
        """Wait for the stream that follows a registration; raise RegistrationFailed."""
        wait_s = self._around.timing.stream_wait_s
        await self._pulse.until(
            lambda: (
                self._stream_lost
                or self._is_attached(kubelet, since_s)
                or self._is_overtaken(kubelet)
            ),
            timeout_s=wait_s,
        )
        if self._stream_lost:
            raise RegistrationFailed("accepted, but the stream ended at once")
        # A kubelet that keeps to the stream it had is content too.
        if not self._is_attached(kubelet, since_s=0.0):
            raise RegistrationFailed(f"accepted, but no stream was opened within {wait_s:g} s")

    def _is_overtaken(self, kubelet: FileIdentity) -> bool:
        """Return whether an attempt cannot succeed any more.

        A kubelet whose call back finds no socket keeps trying until our call ends.
        """
        return self._is_going() or self._around.kubelet() != kubelet or not self._is_served()

    def _is_attached(self, kubelet: FileIdentity, since_s: float) -> bool:
        """Return whether ``kubelet`` opened a stream since then and still holds it."""
        return self._endpoint is not None and any(
            stream.kubelet == kubelet and stream.opened_s >= since_s
            for stream in self._endpoint.service.streams
        )

    def _is_going(self) -> bool:
        return self._withdrawn or self._leaving

    async def _see_off(self) -> None:
        """Let devices that are no longer wanted leave the list when the kubelet is still."""
        while True:
            await self._pulse.until(lambda: self._offer.departing)
            while (left_s := self._quiet_in_s()) > 0:  # noqa: ASYNC110  # stillness is no event
                await asyncio.sleep(left_s)
            self._offer.forget_departed()
            self._pulse.fire()

    def _quiet_in_s(self) -> float:
        quiet_s = self._around.timing.quiet_s
        services = [endpoint.service for endpoint in self._endpoints()]
        return max((service.quiet_in_s(quiet_s) for service in services), default=0.0)

    def _endpoints(self) -> list[Endpoint[Service]]:
        return [*self._retiring, *([self._endpoint] if self._endpoint else [])]

    def _is_told_all(self) -> bool:
        """Return whether the kubelet knows all there is to say."""
        streams = [stream for each in self._endpoints() for stream in each.service.streams]
        # A kubelet that was asked to register us will open a stream, and believes the list it
        # had before unless it is told another one.
        due = self._stream_due and not streams and self._around.kubelet() is not None
        told = all(stream.sent == self._offer.wanted for stream in streams)
        return told and not due and not self._offer.departing

    async def _leave(self) -> None:
        """Stop serving, remove the socket."""
        retiring = [*self._retiring.values()]
        endpoints = self._endpoints()
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        await asyncio.gather(*(endpoint.close() for endpoint in endpoints))
        notify(self._around.observer.withdrawn, self._name)
