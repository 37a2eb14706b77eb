"""The second door: the drivers that serve claims, one for GPUs and, where wanted, one for NICs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.cluster.access import Access
from agent.cluster.connection import Connection
from agent.cluster.slices import NodeSlices, read_claim_object
from agent.cluster.watching import Watch
from agent.config.schema import Config
from agent.daemon.boot import boot_id
from agent.daemon.claim_sharer import GpuSharer
from agent.daemon.dra_driver import DraDriver, Site
from agent.daemon.on_demand import InstanceMaker, OnDemandGpus
from agent.daemon.orphans import Orphans
from agent.daemon.threads import in_thread
from agent.ledger.ledger import Ledger
from agent.model.errors import ClusterError, describe
from agent.model.machine import Machine
from agent.partition.change import journal_folder
from agent.planning.claim_usage import Usage, usage_obstacle
from agent.planning.dra_devices import DRIVER
from agent.planning.dra_nics import NIC_DRIVER, TAINT_EFFECT, NicPool
from agent.planning.pool import Claimed, GpuPool
from agent.planning.snapshot import Snapshot
from agent.serving.claim_folder import claims_folder, nic_claims_folder
from agent.serving.claim_instances import ClaimInstances
from agent.serving.claim_listing import list_claims
from agent.serving.claim_sharing import ClaimSharing
from agent.serving.claim_store import ClaimStore
from agent.serving.gpu_offers import GpuOffers
from agent.serving.nic_offers import NicOffers
from agent.telemetry import logs
from deviceplugin.dra.values import ClaimRef
from deviceplugin.errors import PodResourcesUnreachable
from deviceplugin.holdings import list_holdings, socket_beside

# How often is looked whether MPS daemons of claims live; it takes a walk through all processes.
LOOK_AFTER_S = 5.0

State = Callable[[], tuple[Snapshot | None, Ledger]]


class NodeSide(Struct, frozen=True, kw_only=True):
    """What is known of the node, and what it is told."""

    state: State
    claimed: Callable[[Mapping[str, str]], None]
    """Is told which GPUs claims have, at every change: names by UUID."""
    look: Callable[[], None]
    """Asks for a new look at the node."""


class NicsWithGpus(Struct, frozen=True, kw_only=True):
    """The NICs that go through the first door, with GPUs, by name."""

    given: Callable[[], Collection[str]]
    """Returns those that containers have."""
    claimed: Callable[[frozenset[str]], None]
    """Is told which ones claims have."""


class Dra:
    """Everything that serves DRA on this node; idle until ``run``."""

    def __init__(
        self,
        machine: Machine,
        access: Access,
        node: str,
        *,
        instance: str,
        kubelet_dir: Path,
        config: Config,
        gpus: NodeSide,
        nics: NicsWithGpus | None,
    ) -> None:
        """``instance`` is what no other instance on the node is called.

        ``kubelet_dir`` is the kubelet's own, /var/lib/kubelet.

        ``config`` is that of the start. ``nics`` None: NICs are not served.

        Raises ConfigError for certificates that cannot be used.
        """
        self._state = gpus.state
        self._connection = Connection(access)
        slices = NodeSlices(
            node,
            [DRIVER] if nics is None else [DRIVER, NIC_DRIVER],
            lambda: self._hand_over(self._slices_changed),
        )
        self._watch = Watch(
            self._connection, slices, lambda error: self._hand_over(self._note_watch, error)
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._boot = boot_id(machine)
        site = Site(
            connection=self._connection,
            slices=slices,
            node=node,
            instance=instance,
            boot=self._boot,
            kubelet_dir=kubelet_dir,
            spec_dir=machine.path(config.plumbline.cdi.spec_dir),
            metadata=self._tells_metadata,
        )
        self._on_demand = OnDemandGpus(machine, lambda: gpus.state()[0])
        self._gpus = self._gpu_driver(machine, site, config, gpus)
        self._nics = DraDriver(
            NIC_DRIVER,
            site,
            ClaimStore(nic_claims_folder(machine)),
            offers=NicOffers(self._nic_pool),
            pool=self._nic_pool,
            taint_effect=lambda: TAINT_EFFECT,
            changed=self._nics_claimed,
        )
        self._with_gpus = nics
        drivers = [self._gpus] if nics is None else [self._gpus, self._nics]
        self._drivers = {each.name: each for each in drivers}
        self._taken_in = False
        self._pool: GpuPool | None = None
        self._pool_of: tuple[int, ...] = ()
        self._pod_resources = socket_beside(kubelet_dir / "device-plugins")
        self._orphans = Orphans(
            [each.claims for each in drivers],
            holdings=lambda: list_holdings(self._pod_resources),
            fetch=self._fetch,
            grace_s=self._orphan_s,
        )

    def _gpu_driver(
        self, machine: Machine, site: Site, config: Config, gpus: NodeSide
    ) -> DraDriver:
        store = ClaimStore(claims_folder(machine))
        instances = ClaimInstances(
            journal_folder(machine),
            store,
            InstanceMaker(machine),
            in_mig_mode=self._on_demand.in_mig_mode,
            seen=self._on_demand.seen,
            changed=gpus.look,
            in_thread=in_thread,
        )
        self._sharing = ClaimSharing(
            store,
            GpuSharer(machine, config.flags),
            driver=DRIVER,
            obstacle=self._obstacle,
            in_thread=in_thread,
        )
        return DraDriver(
            DRIVER,
            site,
            store,
            offers=GpuOffers(self._gpu_pool),
            pool=self._gpu_pool,
            taint_effect=self._effect,
            stages=(instances, self._sharing),
            changed=lambda: gpus.claimed(self._gpus.claims.held),
        )

    async def list_claims(self) -> list[dict[str, Any]]:
        """Return what is prepared, and for whom."""
        try:
            holdings = (await list_holdings(self._pod_resources)).claims
        except PodResourcesUnreachable as error:
            logs.debug("claims_pods_unknown", reason=error)
            holdings = None
        drivers = self._drivers.items()
        return list_claims(
            {name: each.claims.known for name, each in drivers},
            {name: each.claims.unreadable for name, each in drivers},
            holdings,
        )

    async def take_in(self) -> None:
        """Take in what an earlier instance prepared, once."""
        if not self._taken_in:
            self._taken_in = True
            for driver in self._drivers.values():
                await driver.take_in()

    async def run(self) -> None:
        """Serve, for ever."""
        self._loop = asyncio.get_running_loop()
        self._watch.start()
        await asyncio.gather(
            self._on_demand.run(self._gpus.stirred),
            self._orphans.run(),
            self._look_after_claims(),
            *(each.run() for each in self._drivers.values()),
        )

    async def close(self) -> None:
        """End the service."""
        self._watch.close()
        await asyncio.gather(*(each.close() for each in self._drivers.values()))
        self._connection.close()

    def stirred(self) -> None:
        """Take in that the node or its claims have changed."""
        self._on_demand.stirred()
        for driver in self._drivers.values():
            driver.stirred()
        self._tell_claimed_nics()

    async def _look_after_claims(self) -> None:
        """See that what serves prepared claims lives, for ever."""
        while True:
            await asyncio.sleep(LOOK_AFTER_S)
            prepared = [
                each
                for each in self._gpus.claims.known
                if each.state == "completed" and each.boot == self._boot
            ]
            try:
                await self._sharing.look_after(prepared)
            except Exception as error:  # noqa: BLE001 - one bad look must not end the serving
                logs.error("claims_not_looked_after", error=describe(error), doing="looking again")

    def _slices_changed(self) -> None:
        for driver in self._drivers.values():
            driver.slices_changed()

    def _note_watch(self, error: ClusterError | None) -> None:
        if error is None:
            logs.event("slices_watched")
        else:
            logs.error("slices_not_watched", error=error, doing="trying again")

    def _hand_over(self, call: Callable[..., None], *values: object) -> None:
        """Pass something from the watching thread to the loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(call, *values)

    def _gpu_pool(self) -> GpuPool | None:
        """Return what there is to give, made anew only when something has changed."""
        snapshot, ledger = self._state()
        if snapshot is None:
            return None
        claims, on_demand = self._gpus.claims, self._on_demand.found
        made_of = (id(snapshot), id(ledger), claims.changes, id(on_demand))
        if self._pool is None or self._pool_of != made_of:
            claimed = Claimed(
                uuids=claims.held,
                devices=claims.allocated,
                addresses=claims.addresses,
                admin_only=claims.admin_only,
            )
            self._pool_of = made_of
            # It keeps what it is made of, so that no other can get the same id.
            self._pool = GpuPool(
                snapshot=snapshot, ledger=ledger, claimed=claimed, on_demand=on_demand
            )
        return self._pool

    def _obstacle(self, uuid: str, usage: Usage) -> str | None:
        snapshot, _ = self._state()
        if snapshot is None:
            return "the node's GPUs have not been read yet"
        return usage_obstacle(snapshot, uuid, usage)

    def _nic_pool(self) -> NicPool | None:
        snapshot, _ = self._state()
        if snapshot is None:
            return None
        claims = self._nics.claims
        known = {uuid for claim in claims.known for each in claim.devices for uuid in each.uuids}
        return NicPool(
            snapshot=snapshot,
            claimed=frozenset(known | claims.held.keys()),
            given=frozenset(self._with_gpus.given() if self._with_gpus else ()),
        )

    def _nics_claimed(self) -> None:
        self._nics.stirred()
        self._tell_claimed_nics()

    def _tell_claimed_nics(self) -> None:
        pool = self._nic_pool()
        if self._with_gpus is not None and pool is not None:
            found = (pool.nic(address) for address in self._nics.claims.held)
            self._with_gpus.claimed(frozenset(nic.name for nic in found if nic is not None))

    async def _fetch(self, claim: ClaimRef) -> dict[str, Any]:
        return await in_thread(read_claim_object, self._connection, claim.namespace, claim.name)

    def _orphan_s(self) -> float | None:
        snapshot, _ = self._state()
        return None if snapshot is None else snapshot.config.plumbline.dra.orphan_seconds

    def _tells_metadata(self) -> bool:
        snapshot, _ = self._state()
        return snapshot is not None and snapshot.config.plumbline.dra.metadata

    def _effect(self) -> str:
        snapshot, _ = self._state()
        return (
            "NoSchedule" if snapshot is None else snapshot.config.plumbline.dra.taint_effect.value
        )
