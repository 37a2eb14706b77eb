"""`plumbline run`: builds every object once, and owns the order of start and shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent import VERSION
from agent.config import flags
from agent.config.flags import Resolved
from agent.config.own import ServingMode
from agent.config.schema import Config
from agent.config.summary import describe, print_config
from agent.daemon.config_watch import changes
from agent.daemon.dividing import Dividing
from agent.daemon.node import Node
from agent.daemon.orders import Orders
from agent.daemon.shared_gpus import SharedGpus
from agent.daemon.threads import in_thread
from agent.daemon.windows import Windows
from agent.daemon.xid_record import XidRecord
from agent.discovery.library import simulated_machine
from agent.ledger.ledger import Account
from agent.model.errors import (
    ConfigError,
    DriverReplacedError,
    HardwareError,
    KubeletError,
    PlumblineError,
)
from agent.model.machine import Machine
from agent.planning.dra_doors import unselected, waiting_for
from agent.planning.snapshot import Snapshot
from agent.serving.afterwards import Afterwards
from agent.serving.backend import SnapshotBackend, offered_devices
from agent.serving.cdi import publish_specs
from agent.serving.claim_folder import has_claims
from agent.serving.decisions import Decisions
from agent.serving.holders import Holders
from agent.serving.inquiries import Inquiries
from agent.serving.nic_grants import NicGrants
from agent.serving.observer import LogObserver
from agent.telemetry import logs
from deviceplugin.errors import DevicePluginError
from deviceplugin.plugins import DevicePlugins

if TYPE_CHECKING:
    from agent.daemon.cluster_link import ClusterLink
    from agent.daemon.dra import Dra


_NEEDS_SERVER = (
    "needs the API server and this node's name; give --node-name (NODE_NAME), and outside of a pod"
    " --kubeconfig"
)


def run(argv: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code.

    Raises ConfigError for input that cannot be used, HardwareError when the driver cannot be
    reached and the configuration says not to wait, KubeletError when the kubelet's directory
    cannot be used, or another instance got hold of it while it was away.
    """
    resolved = flags.resolve(argv, os.environ)
    if resolved.options.print_config:
        sys.stdout.write(print_config(resolved))
        return 0
    _configure_logs(resolved)
    daemon = Daemon(resolved)
    try:
        code = asyncio.run(daemon.serve())
    except PlumblineError as error:
        if not daemon.left_thread_behind:
            raise
        sys.stderr.write(f"error: {error}\n")
        code = error.exit_code
    if daemon.left_thread_behind:
        # The interpreter's end would tear that thread down inside C++, which aborts.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


class Daemon:
    """One run of the agent."""

    def __init__(self, resolved: Resolved) -> None:
        """Build every object; nothing is read or served yet."""
        self._resolved = resolved
        self._machine = _machine(resolved)
        self._in_charge = asyncio.Event()
        self._decisions = Decisions(lambda at_s: time.time() - time.monotonic() + at_s)
        self._nic_grants = NicGrants(time.monotonic)
        self._afterwards = Afterwards()
        self._node = self._new_node(resolved)
        self._plugins = self._new_plugins(resolved)
        self._sharing = SharedGpus(self._machine, resolved.config.flags, node=self._node)
        self._claims_wanted = asyncio.Event()
        self._dra = self._second_door(resolved)
        self._xids = XidRecord(self._machine)
        self._windows = self._new_windows(resolved)
        self._decisions.noted = self._windows.noted
        self._cluster = _cluster(resolved, self._ordered)
        self._orders = self._new_orders(resolved)
        if self._cluster is None:
            self._orders.labelled(None)
        self._held: frozenset[str] = frozenset()
        self._waiting: Mapping[str, str] = {}
        self._unselected: str | None = None
        self._stop = asyncio.Event()

    def _new_node(self, resolved: Resolved) -> Node:
        return Node(
            self._machine,
            _settled(resolved.config, self._machine),
            in_charge=self._in_charge,
            holders=Holders(Path(resolved.options.kubelet_dir)).read,
            prepare=partial(publish_specs, self._machine),
            publish=self._publish,
            confirmed=self._confirmed,
        )

    def _new_plugins(self, resolved: Resolved) -> DevicePlugins:
        return DevicePlugins(
            kubelet_dir=Path(resolved.options.kubelet_dir),
            kubelet_socket=resolved.options.kubelet_socket or None,
            backend=SnapshotBackend(
                lambda: self._node.snapshot,
                ledger=lambda: self._node.ledger,
                granted=self._node.granted,
                outdated=self._node.outdated,
                decisions=self._decisions,
                nic_grants=self._nic_grants,
                afterwards=self._afterwards,
            ),
            observer=LogObserver(restarted=self._node.kubelet_restarted),
        )

    def _new_windows(self, resolved: Resolved) -> Windows:
        return Windows(
            resolved.config.plumbline,
            Inquiries(
                decisions=self._decisions,
                catch_up=self._afterwards.catch_up,
                slice_fault=self._sharing.slice_fault,
                mps_pid=self._sharing.mps_pid,
                claims=self._known_claims,
            ),
            state=lambda: (self._node.snapshot, self._node.ledger),
            path=self._machine.path,
        )

    def _new_orders(self, resolved: Resolved) -> Orders:
        return Orders(
            resolved.config.plumbline.mig,
            resolved.options.config_file or "",
            node=self._node,
            dividing=Dividing(self._machine, self._node.let_go),
            report=self._cluster.report if self._cluster else lambda _: None,
            evict=self._cluster.evict if self._cluster else None,
        )

    def _second_door(self, resolved: Resolved) -> Dra | None:
        """Return what serves DRA, where the configuration wants it, or claims are left from when
        it did. Raises ConfigError.
        """
        mode = resolved.config.plumbline.mode
        if mode is ServingMode.DEVICE_PLUGIN and not has_claims(self._machine):
            return None
        from agent.cluster.access import find_access  # noqa: PLC0415
        from agent.daemon.dra import Dra, NicsWithGpus, NodeSide  # noqa: PLC0415

        options = resolved.options
        access = find_access(options.kubeconfig, os.environ)
        if options.node_name is None or access is None:
            if mode is ServingMode.DEVICE_PLUGIN:
                # What they have is held; see _take_in.
                logs.error("claims_not_served", reason=_NEEDS_SERVER, doing="holding their GPUs")
                return None
            raise ConfigError(f"plumbline.mode {mode.value} {_NEEDS_SERVER}")
        self._claims_wanted.set()
        return Dra(
            self._machine,
            access,
            options.node_name,
            instance=options.pod_uid or str(os.getpid()),
            kubelet_dir=Path(options.kubelet_dir).parent,
            config=resolved.config,
            gpus=NodeSide(
                state=lambda: (self._node.snapshot, self._node.ledger),
                claimed=self._node.claimed,
                look=self._node.refresh,
            ),
            nics=NicsWithGpus(given=self._nic_grants.taken, claimed=self._nic_grants.claim)
            if resolved.config.plumbline.dra.nics
            else None,
        )

    def _known_claims(self) -> Awaitable[object] | None:
        return None if self._dra is None else self._dra.list_claims()

    @property
    def left_thread_behind(self) -> bool:
        """True when a thread could not be stopped because something below it hangs."""
        return any(each.left_behind for each in (self._node, self._orders, self._sharing))

    async def serve(self) -> int:
        """Serve until SIGTERM or SIGINT."""
        self._take_signals()
        logs.event(
            "starting",
            version=VERSION,
            pid=os.getpid(),
            kubelet_dir=self._resolved.options.kubelet_dir,
            configured=describe(self._resolved) or "defaults",
        )
        try:
            await self._serve()
        except BaseExceptionGroup as group:
            raise _translated(_first(group)) from group
        except (DevicePluginError, OSError) as error:
            raise _translated(error) from error
        finally:
            self._afterwards.catch_up()
            await self._xids.close()
            # The directory may have been taken and not yet been served.
            await self._plugins.close()
            await self._close_node()
        logs.event("stopped")
        return 0

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._take_over_and_serve())
            background = [tasks.create_task(self._look_after_node())]
            if self._resolved.options.config_file:
                background.append(tasks.create_task(self._follow_config()))
            await self._stop.wait()
            logs.event("stopping")
            for task in background:
                task.cancel()
            # Before another instance can be in charge, which reads it.
            await self._xids.close()
            # At once, not one after the other: both may have to wait for somebody.
            await asyncio.gather(self._plugins.close(), self._close_node(), self._windows.close())
            serving.cancel()

    async def _close_node(self) -> None:
        if self._cluster:
            self._cluster.close()
        doors = [self._dra.close()] if self._dra else []
        await asyncio.gather(self._orders.close(), self._sharing.close(), *doors)
        await self._node.close()

    async def _take_over_and_serve(self) -> None:
        # A second instance reads the node, so as to be ready, and touches nothing before this.
        await self._plugins.take()
        await self._take_in()
        self._in_charge.set()
        also = [self._cluster.run()] if self._cluster else []
        await asyncio.gather(
            self._plugins.run(),
            self._windows.run(),
            self._orders.run(),
            self._sharing.run(),
            self._xids.run(),
            self._serve_claims(),
            *also,
        )

    async def _serve_claims(self) -> None:
        """Serve DRA from when it is wanted, at the start or later."""
        await self._claims_wanted.wait()
        if self._dra is not None:
            await self._dra.take_in()
            await self._dra.run()

    async def _take_in(self) -> None:
        """Take in what an earlier instance left."""
        summaries = _settled(self._resolved.config, self._machine).plumbline.nics.summary_dir
        await in_thread(self._nic_grants.load, Path(summaries))
        self._node.remember_xids(await self._xids.load())
        await self._orders.take_in()
        await self._sharing.take_in()
        if self._dra:
            await self._dra.take_in()
        elif has_claims(self._machine):
            # Imported here: a node without claims pays for none of it.
            from agent.serving.left_claims import left_claims  # noqa: PLC0415

            spec_dir = self._machine.path(self._resolved.config.plumbline.cdi.spec_dir)
            self._node.claimed(await in_thread(left_claims, self._machine, spec_dir))

    async def _look_after_node(self) -> None:
        try:
            await self._node.start()
        except HardwareError as error:
            if self._resolved.config.flags.fail_on_init_error:
                raise
            logs.error("driver_unreachable", error=error, doing="offering nothing, trying again")
            self._node.refresh()
        try:
            await self._node.run()
        except DriverReplacedError:
            # Another driver starts every GPU anew.
            self._xids.keep({})
            raise

    async def _follow_config(self) -> None:
        # From nothing known, so that the file is compared with what was read before the start.
        async for _ in changes(Path(self._resolved.options.config_file or ""), known=b""):
            self._reload("the file changed", look_anyway=False)

    def _begin_anew(self) -> None:
        """Do what a restart would, as far as pods do not notice."""
        self._xids.forgive()
        self._node.forgive_xids()
        if self._in_charge.is_set():
            self._xids.keep(self._node.xids)
        self._reload("SIGHUP", look_anyway=True)

    def _reload(self, why: str, *, look_anyway: bool) -> None:
        try:
            fresh = flags.reload(self._resolved)
            self._dra = self._dra or self._second_door(fresh)
        except ConfigError as error:
            logs.error("config_refused", why=why, error=error, doing="keeping the previous one")
            if look_anyway:
                self._node.refresh()
            return
        changed = fresh.config != self._resolved.config
        fresh = _with_nics_of(self._resolved, fresh)
        _configure_logs(fresh)
        logs.event("config_read", why=why, changed=changed)
        self._resolved = fresh
        if changed or look_anyway:
            self._node.refresh(_settled(fresh.config, self._machine))
            self._windows.follow(fresh.config.plumbline)
            self._orders.follow(
                fresh.config.plumbline.mig, self._resolved.options.config_file or ""
            )

    def _publish(self, snapshot: Snapshot) -> None:
        logs.event(
            "snapshot",
            generation=snapshot.generation,
            gpus=len(snapshot.inventory.gpus),
            resources=tuple(snapshot.catalog.resources) or "none",
            unhealthy=_unhealthy(snapshot) or "none",
            left_out=tuple(f"{each.gpu.uuid} ({each.reason})" for each in snapshot.catalog.left_out)
            or "none",
            warnings=len(snapshot.inventory.warnings),
        )
        self._xids.keep(snapshot.health.xids)
        self._note_doors(snapshot)
        self._plugins.offer(offered_devices(snapshot.catalog))
        self._orders.stirred()
        self._sharing.stirred()
        if self._dra:
            self._dra.stirred()

    def _note_doors(self, snapshot: Snapshot) -> None:
        gpus = (*snapshot.inventory.gpus, *snapshot.departed)
        unfit = unselected(snapshot.config.plumbline, gpus)
        if unfit != self._unselected:
            self._unselected = unfit
            if unfit is not None:
                logs.warning("gpus_not_selected", path="plumbline.dra.gpus", reason=unfit)
        waiting = waiting_for(snapshot.config.plumbline, gpus, snapshot.ledger)
        if waiting != self._waiting:
            self._waiting = waiting
            logs.event(
                "gpus_wait_for_their_door",
                mode=snapshot.config.plumbline.mode.value,
                held=tuple(f"{uuid} by {holder}" for uuid, holder in waiting.items()) or "none",
            )

    def _ordered(self, layout: str | None) -> None:
        self._orders.labelled(layout)

    def _confirmed(self, account: Account) -> None:
        self._afterwards.catch_up()
        self._decisions.confirmed(account)
        self._nic_grants.confirmed(account)
        held = frozenset((*(each.device for each in account.held), *self._nic_grants.taken()))
        if held != self._held:
            self._held = held
            self._orders.stirred()
            self._sharing.stirred()
            if self._dra:
                self._dra.stirred()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._begin_anew)


def _with_nics_of(started: Resolved, fresh: Resolved) -> Resolved:
    """Return a configuration that serves NICs if the process did when it was started."""
    before, now = started.config.plumbline, fresh.config.plumbline
    if now.dra.nics != before.dra.nics:
        logs.warning(
            "dra_nics_changed",
            nics=now.dra.nics,
            doing=f"going on with {before.dra.nics}: a change takes a restart of the agent",
        )
    dra = replace(now.dra, nics=before.dra.nics)
    plumbline = replace(now, dra=dra)
    config = replace(fresh.config, plumbline=plumbline)
    return replace(fresh, config=config)


def _configure_logs(resolved: Resolved) -> None:
    wanted = resolved.config.plumbline.log
    logs.configure(level=wanted.level, form=wanted.format)


def _machine(resolved: Resolved) -> Machine:
    folder = resolved.options.machine
    if folder is None:
        return Machine.live(Path(resolved.config.flags.plugin.container_driver_root))
    return simulated_machine(Path(folder))


def _unhealthy(snapshot: Snapshot) -> tuple[str, ...]:
    offered = (device for devices in snapshot.catalog.resources.values() for device in devices)
    return tuple(f"{device.id} ({device.reason})" for device in offered if not device.healthy)


def _cluster(resolved: Resolved, ordered: Callable[[str | None], None]) -> ClusterLink | None:
    """Return the line to the API server, where it is known which node this is."""
    options = resolved.options
    if options.node_name is None:
        return None
    # Imported here: it costs some 4 MiB, which nobody should pay who does not ask for it.
    from agent.cluster.access import find_access  # noqa: PLC0415

    access = find_access(options.kubeconfig, os.environ)
    if access is None:
        logs.warning(
            "cluster_absent",
            node=options.node_name,
            doing="going by the configuration alone; in a cluster, give the pod a service account,"
            " elsewhere --kubeconfig",
        )
        return None
    from agent.daemon.cluster_link import ClusterLink  # noqa: PLC0415

    return ClusterLink(access, options.node_name, ordered=ordered)


def _settled(config: Config, machine: Machine) -> Config:
    """Return the configuration with host paths as they are for this machine."""
    dev_root = str(machine.path(config.flags.dev_root))
    flags_ = replace(config.flags, nvidia_dev_root=dev_root)
    nics = replace(
        config.plumbline.nics, summary_dir=str(machine.path(config.plumbline.nics.summary_dir))
    )
    plumbline = replace(config.plumbline, nics=nics)
    return replace(config, flags=flags_, plumbline=plumbline)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended the daemon: the first one of the group."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def _translated(error: BaseException) -> BaseException:
    """Return an error of the kubelet's door in the agent's own words."""
    if isinstance(error, (DevicePluginError, OSError)):
        return KubeletError(str(error))
    return error
