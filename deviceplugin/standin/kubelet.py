"""The stand-in itself: kubelet.sock, the plugins behind it, and the node they add up to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import grpc.aio
from msgspec import Struct

from deviceplugin import names, rpc, sockets, wire
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.errors import InvalidResourceName
from deviceplugin.files import identify_socket
from deviceplugin.pulse import Pulse
from deviceplugin.standin import accounts, podresources
from deviceplugin.standin.admission import Admission, TopologyRules
from deviceplugin.standin.devices import ResourceState
from deviceplugin.standin.plugin import PluginClient
from deviceplugin.standin.pods import AdmissionFailed, Allocated, KubeletDied, Pod
from deviceplugin.values import Device

_PRIVATE_PREFIX = ".kl-"
_WAIT_S = 5.0


class Conduct(Struct, kw_only=True):
    """How the kubelet behaves towards plugins that register; may be changed at any time."""

    refuse: str | None = None
    """Answer Register with this error."""
    hang: bool = False
    """Do not answer Register at all."""
    answer_after: asyncio.Event | None = None
    """Answer Register only once this is set, though the plugin was dialled back before."""
    follow_after: asyncio.Event | None = None
    """Open the stream only once this is set, though the registration was accepted."""
    dial: bool = True
    """False: accept a registration and do nothing about it."""


class Kubelet:
    """A kubelet's device manager, topology manager and pod-resources service.

    ``calls`` lists every Register call by resource name, ``registrations`` those that were
    accepted. Waiting methods return as soon as what they wait for is so, and raise
    TimeoutError otherwise.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rules: TopologyRules | None = None,
        seed: int = 0,
        pod_resources: Path | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare to run in ``directory``.

        ``seed`` decides whatever a kubelet leaves to the order of its maps; ``tell`` is
        given a line for each thing that happens.
        """
        self.directory = directory
        self.socket = directory / names.KUBELET_SOCKET
        self.pod_resources = pod_resources or directory.parent / "pod-resources" / "kubelet.sock"
        self.conduct = Conduct()
        self.calls: list[str] = []
        self.registrations: list[str] = []
        self.pods: dict[str, Pod] = {}
        self._given_up: set[str] = set()
        self._rules = rules or TopologyRules()
        self._rng = random.Random(seed)  # noqa: S311  # repeatable disorder, no secret
        self._tell = tell or (lambda _line: None)
        self._accounts = accounts.Accounts()
        self._resources: dict[str, ResourceState] = {}
        self._clients: list[PluginClient] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._servers: list[grpc.aio.Server] = []
        self._pulse = Pulse()
        self._admitting = asyncio.Lock()

    # Its life

    async def start(self) -> None:
        """Read the checkpoint, empty the directory and listen.

        As in a kubelet, every socket of the directory is removed, and resources known before
        are back with no devices until their plugins register. Nothing is known after a
        checkpoint that cannot be read.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._accounts, known = self._remembered()
        self._resources = {resource: ResourceState() for resource in known}
        for state in self._resources.values():
            state.disconnect()
        for path in self.directory.iterdir():
            if identify_socket(path) is not None:
                path.unlink(missing_ok=True)
        await self._serve_pod_resources()
        registration = grpc.aio.server()
        rpc.serve_registration(registration, rpc.REGISTER.served(self._register))
        await sockets.start_at(registration, self.socket, prefix=_PRIVATE_PREFIX)
        self._servers.append(registration)
        self._tell(f"kubelet listens on {self.socket}")

    async def stop(self) -> None:
        """End every connection and leave the sockets behind, dead.

        However a kubelet ends, by itself, asked to or killed, plugins see the same.
        """
        await self._drop_everything()
        self._tell("kubelet stopped")

    async def restart(self) -> None:
        """Stop and start again; allocations survive in the checkpoint."""
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    # What it knows

    @property
    def capacity(self) -> Mapping[str, int]:
        """Return the capacity of the node status, per resource.

        A resource whose plugin is long gone is not taken from the status: it is 0.
        """
        return {
            resource: 0 if state.is_forgotten else len(state.healthy) + len(state.unhealthy)
            for resource, state in self._resources.items()
        }

    @property
    def allocatable(self) -> Mapping[str, int]:
        """Return what the node status calls allocatable: the healthy devices."""
        return {
            resource: 0 if state.is_forgotten else len(state.healthy)
            for resource, state in self._resources.items()
        }

    def healthy_devices(self) -> Sequence[tuple[str, Device]]:
        """Return every healthy device with its resource."""
        return [
            (resource, state.devices[id_])
            for resource, state in sorted(self._resources.items())
            for id_ in sorted(state.healthy & state.devices.keys())
        ]

    def allocated(self, pod: Pod) -> Sequence[Allocated]:
        """Return what a pod holds."""
        return self._accounts.of_pod(pod.uid)

    def streams(self, resource: str) -> int:
        """Return how many ListAndWatch streams of a resource are open."""
        return sum(client.resource == resource for client in self._clients)

    # Waiting

    async def registered(
        self, resource: str, *, times: int = 1, timeout_s: float = _WAIT_S
    ) -> None:
        """Wait until a resource has been registered so many times in all."""
        await self._await(
            lambda: self.registrations.count(resource) >= times,
            f"{resource} to be registered {times} times",
            timeout_s,
        )

    async def called(self, resource: str, *, times: int = 1, timeout_s: float = _WAIT_S) -> None:
        """Wait until Register was called so many times in all, whatever came of it."""
        await self._await(
            lambda: self.calls.count(resource) >= times,
            f"Register to be called {times} times for {resource}",
            timeout_s,
        )

    async def given_up(self, resource: str, *, timeout_s: float = _WAIT_S) -> None:
        """Wait until a plugin no longer waits for an answer to Register."""
        await self._await(lambda: resource in self._given_up, f"{resource} to give up", timeout_s)

    async def settled(self) -> None:
        """Wait until connections that ended are closed."""
        await asyncio.gather(*self._closing)

    async def devices(
        self,
        resource: str,
        predicate: Callable[[Mapping[str, Device]], bool] = bool,
        *,
        timeout_s: float = _WAIT_S,
    ) -> Mapping[str, Device]:
        """Wait until the devices of a resource satisfy ``predicate``; return them.

        Only what was listed since the last registration or loss of a stream counts.
        """

        def satisfied() -> bool:
            state = self._resources.get(resource)
            return state is not None and state.is_listed and predicate(state.devices)

        await self._await(satisfied, f"the devices of {resource} to be as wanted", timeout_s)
        return dict(self._resources[resource].devices)

    async def disconnected(self, resource: str, *, timeout_s: float = _WAIT_S) -> None:
        """Wait until no ListAndWatch stream of a resource is left."""
        await self._await(
            lambda: self.streams(resource) == 0, f"{resource} to be disconnected", timeout_s
        )

    async def _await(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        if not await self._pulse.until(condition, timeout_s=timeout_s):
            raise TimeoutError(
                f"waited {timeout_s:g} s for {what}; registrations {self.registrations}, "
                f"allocatable {dict(self.allocatable)}"
            )

    # Pods

    async def admit(self, pod: Pod) -> Sequence[Allocated]:
        """Give a pod its devices, or raise AdmissionFailed; one pod at a time.

        Raises KubeletDied where a kubelet ends in a panic; it is stopped then.
        """
        async with self._admitting:
            admission = Admission(
                pod,
                resources=self._resources,
                accounts=self._accounts,
                rules=self._rules,
                rng=self._rng,
            )
            self.pods[pod.uid] = pod
            try:
                await admission.run()
                await self._pre_start(pod)
            except AdmissionFailed as failure:
                self._forget(pod)
                self._tell(f"pod rejected: {failure}")
                raise
            except KubeletDied as death:
                self._tell(f"kubelet died: {death}")
                await self.stop()
                raise
            self._write_checkpoint()
        held = self.allocated(pod)
        for each in held:
            ids = ", ".join(sorted(each.device_ids))
            self._tell(f"pod {pod.uid} container {each.container}: {each.resource} = {ids}")
        return held

    async def remove_pod(self, pod: Pod) -> None:
        """Free what a pod holds; plugins are not told, as there is no call for it."""
        async with self._admitting:
            self._forget(pod)
        self._tell(f"pod {pod.uid} removed")

    def _forget(self, pod: Pod) -> None:
        self.pods.pop(pod.uid, None)
        self._accounts.remove(pod.uid)
        self._write_checkpoint()

    async def _pre_start(self, pod: Pod) -> None:
        for each in self.allocated(pod):
            client = self._resources[each.resource].client
            if client is not None:
                await client.pre_start(sorted(each.device_ids))

    # Plugins

    async def drop_streams(self, resource: str, *, newest_too: bool = True) -> None:
        """End the connections to a resource's plugin without restarting.

        There are several where a plugin registered again while its stream was open. The end
        of an older one takes the newest along.
        """
        clients = [client for client in self._clients if client.resource == resource]
        for client in clients if newest_too else clients[:-1]:
            self._lost(client)
        await self.settled()

    async def _register(
        self,
        request: api.RegisterRequest,
        context: rpc.Context[api.RegisterRequest, api.Empty],
    ) -> api.Empty:
        conduct = self.conduct
        self.calls.append(request.resource_name)
        self._pulse.fire()
        if conduct.hang:
            self._tell(f"{request.resource_name} registers and gets no answer")
            await self._keep_waiting(request.resource_name, asyncio.Event())
        if fault := conduct.refuse or _fault(request):
            self._tell(f"{request.resource_name} refused: {fault}")
            await context.abort(grpc.StatusCode.UNKNOWN, fault)
        if conduct.dial:
            try:
                await self._connect(request.resource_name, self.directory / request.endpoint)
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                await context.abort(grpc.StatusCode.UNKNOWN, f"cannot dial back: {error}")
        self.registrations.append(request.resource_name)
        self._tell(f"{request.resource_name} registered on {request.endpoint}")
        self._pulse.fire()
        if conduct.answer_after is not None:
            await self._keep_waiting(request.resource_name, conduct.answer_after)
        return api.Empty()

    async def _keep_waiting(self, resource: str, until: asyncio.Event) -> None:
        try:
            await until.wait()
        except asyncio.CancelledError:
            self._given_up.add(resource)
            self._pulse.fire()
            raise

    async def _connect(self, resource: str, socket: Path) -> None:
        client = PluginClient(resource, socket, received=self._receive, ended=self._lost)
        try:
            await client.connect()
        except BaseException:
            await client.close()
            raise
        self._clients.append(client)
        self._resources.setdefault(resource, ResourceState()).connect(client)
        client.follow(after=self.conduct.follow_after)

    def _receive(self, client: PluginClient, devices: tuple[Device, ...]) -> None:
        state = self._resources[client.resource]
        state.receive(devices)
        self._write_checkpoint()
        total = len(state.devices)
        self._tell(f"{client.resource} has {total} devices, {len(state.healthy)} healthy")
        self._pulse.fire()

    def _lost(self, client: PluginClient) -> None:
        if client not in self._clients:
            return
        self._close(client)
        # Whichever stream ended, a kubelet hangs up on the plugin that registered last.
        state = self._resources[client.resource]
        if state.client is not None:
            if state.client in self._clients:
                self._close(state.client)
            state.disconnect()
            self._tell(f"{client.resource} disconnected")
        self._pulse.fire()

    def _close(self, client: PluginClient) -> None:
        self._clients.remove(client)
        closing = asyncio.create_task(client.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # Inside

    async def _serve_pod_resources(self) -> None:
        self.pod_resources.parent.mkdir(parents=True, exist_ok=True)
        server = grpc.aio.server()
        podresources.PodResources(self).add_to(server)
        await sockets.start_at(server, self.pod_resources, prefix=_PRIVATE_PREFIX)
        self._servers.append(server)

    async def _drop_everything(self) -> None:
        clients, self._clients = self._clients, []
        servers, self._servers = self._servers, []
        await asyncio.gather(*(client.close() for client in clients), *self._closing)
        await asyncio.gather(*(server.stop(None) for server in servers))

    @property
    def _checkpoint(self) -> Path:
        return self.directory / accounts.CHECKPOINT_NAME

    def _remembered(self) -> tuple[accounts.Accounts, frozenset[str]]:
        try:
            return accounts.read_checkpoint(self._checkpoint)
        except ValueError as error:
            self._tell(f"starting with no allocations: {error}")
            return accounts.Accounts(), frozenset()

    def _write_checkpoint(self) -> None:
        registered = {resource: state.healthy for resource, state in self._resources.items()}
        accounts.write_checkpoint(self._checkpoint, self._accounts, registered)


def _fault(request: api.RegisterRequest) -> str | None:
    """Return why a kubelet refuses a registration; None when it does not."""
    if request.version != wire.API_VERSION:
        return f"API version {request.version!r} is not supported, only {wire.API_VERSION}"
    try:
        names.check_resource_name(request.resource_name)
    except InvalidResourceName as error:
        return str(error)
    return None
