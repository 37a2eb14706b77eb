"""Every resource of one kubelet directory: the public face of this package."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from deviceplugin import names, sockets
from deviceplugin.backend import Backend
from deviceplugin.delays import Timing
from deviceplugin.endpoint import PRIVATE_PREFIX
from deviceplugin.errors import DirectoryHeld, Holder
from deviceplugin.files import FileIdentity, identify_socket
from deviceplugin.lock import DirectoryLock
from deviceplugin.observer import Observer, notify
from deviceplugin.resource import Resource, Surroundings
from deviceplugin.values import Device
from deviceplugin.watch import watch


class DevicePlugins:
    """Offers resources to the kubelet and keeps them registered, each on its own.

    A resource in the catalog is registered even with no devices: the node then says 0, and
    not nothing. A resource that leaves the catalog ends with an empty list and is gone.
    """

    def __init__(
        self,
        *,
        kubelet_dir: Path,
        backend: Backend,
        kubelet_socket: str | None = names.KUBELET_SOCKET,
        observer: Observer | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Prepare to serve in ``kubelet_dir``, usually /var/lib/kubelet/device-plugins.

        ``kubelet_socket`` is where to register, relative to it; None: serve, never register.
        """
        self._directory = kubelet_dir.absolute()
        self._registers = kubelet_socket is not None
        self._socket = self._directory / (kubelet_socket or names.KUBELET_SOCKET)
        self._lock = DirectoryLock(self._directory)
        self._observer = observer or Observer()
        self._timing = timing or Timing()
        self._around = Surroundings(
            kubelet_socket=self._socket,
            registers=self._registers,
            kubelet=self._kubelet,
            backend=backend,
            observer=self._observer,
            timing=self._timing,
        )
        self._wanted: dict[str, tuple[Device, ...]] = {}
        self._running: dict[str, Resource] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._last_kubelet: FileIdentity | None = None
        self._looked = False
        self._had_checkpoint = False
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()

    def offer(self, catalog: Mapping[str, Sequence[Device]]) -> None:
        """Say what is to be offered from now on; only what differs is touched.

        Raises InvalidResourceName, SocketPathTooLong, and ValueError for a device id given
        twice; nothing is changed then.
        """
        wanted = {name: _in_order(name, devices) for name, devices in catalog.items()}
        for name in wanted:
            names.check_resource_name(name)
            names.check_socket_path(self._directory / names.socket_name(name))
        self._wanted = wanted
        self._reconcile()

    async def take(self) -> None:
        """Take the directory, if it exists yet, before anything in it is touched.

        While another instance serves it, this one waits and takes over at its end. Raises
        OSError when the directory cannot be used.
        """
        told: Holder | None = None
        waits = False
        while not self._closing.is_set():
            try:
                self._hold()
            except DirectoryHeld as held:
                if not waits or held.holder != told:
                    waits, told = True, held.holder
                    notify(self._observer.directory_held, held.holder)
            else:
                return
            await self._lock.wait()
        self._lock.release()

    async def run(self) -> None:
        """Serve until cancelled or closed.

        Raises DirectoryHeld when another instance serves the directory.
        """
        if self._closing.is_set():
            return
        try:
            self._hold()
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                watching = [
                    tasks.create_task(watch(each, self._look, poll_s=self._timing.poll_s))
                    for each in sorted({self._directory, self._socket.parent})
                ]
                self._reconcile()
                await self._closing.wait()
                self._tasks = None
                for resource in self._running.values():
                    resource.leave()
                for task in watching:
                    task.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise
        finally:
            self._tasks = None
            self._lock.release()
            self._closed.set()

    async def close(self) -> None:
        """Stop, remove our sockets; idempotent.

        To the kubelet all devices are unhealthy from then on. It is not told that there are
        none: it may be about to note one of them (see Offer), and the next agent has them.
        """
        started = self._tasks is not None
        self._closing.set()
        if started:
            await self._closed.wait()
        else:
            self._lock.release()

    def _kubelet(self) -> FileIdentity | None:
        known = self._registers and self._lock.held
        return identify_socket(self._socket) if known else None

    def _hold(self) -> None:
        fresh = not self._lock.held
        if self._lock.hold() and fresh:
            sockets.remove_leftovers(self._directory, prefix=PRIVATE_PREFIX)

    def _look(self) -> None:
        try:
            self._hold()
        except OSError as error:
            # A full or read-only disk for a while: what is served goes on being served.
            notify(self._observer.directory_unusable, str(error))
        kubelet = self._kubelet()
        if not self._registers:
            pass
        elif kubelet is None and (self._last_kubelet is not None or not self._looked):
            notify(self._observer.kubelet_absent)
        elif kubelet is not None and kubelet != self._last_kubelet and self._looked:
            notify(self._observer.kubelet_restarted)
        self._last_kubelet = kubelet
        self._looked = True
        self._look_after_checkpoint()
        for resource in self._running.values():
            resource.look()

    def _look_after_checkpoint(self) -> None:
        """Have the kubelet write it again when it was removed.

        Restarted without it, a kubelet knows of no device that a running pod holds, and gives
        them all away once more.
        """
        there = (self._directory / names.KUBELET_CHECKPOINT).exists()
        if self._had_checkpoint and not there:
            notify(self._observer.checkpoint_lost)
            for resource in self._running.values():
                resource.repeat()
        self._had_checkpoint = there

    def _reconcile(self) -> None:
        if self._tasks is None:
            return
        for name, resource in self._running.items():
            if name in self._wanted:
                resource.offer(self._wanted[name])
            else:
                resource.withdraw()
        for name in self._wanted.keys() - self._running.keys():
            self._start(name)

    def _start(self, name: str) -> None:
        assert self._tasks is not None  # noqa: S101  # only _reconcile calls, which checked
        resource = Resource(
            name, self._wanted[name], socket=self._free_socket(name), around=self._around
        )
        self._running[name] = resource
        self._tasks.create_task(self._run(name, resource))

    async def _run(self, name: str, resource: Resource) -> None:
        try:
            await resource.run()
        finally:
            del self._running[name]
        # It may have been wanted again while it took its leave.
        self._reconcile()

    def _free_socket(self, name: str) -> Path:
        taken = {resource.socket for resource in self._running.values()}
        short = self._directory / names.socket_name(name)
        return self._directory / names.qualified_socket_name(name) if short in taken else short


def _in_order(name: str, devices: Sequence[Device]) -> tuple[Device, ...]:
    by_id = {device.id: device for device in devices}
    if len(by_id) != len(devices):
        raise ValueError(f"resource {name} lists a device id twice")
    return tuple(by_id[id_] for id_ in sorted(by_id))
