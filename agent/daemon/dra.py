"""The second door: claims prepared for the kubelet, and slices published for the scheduler."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.cluster.access import Access
from agent.cluster.connection import Connection
from agent.cluster.slices import read_claim_object
from agent.config.own import ClaimedMig
from agent.daemon.boot import boot_id
from agent.daemon.on_demand import InstanceMaker, read_on_demand
from agent.daemon.slices import SlicePublisher
from agent.daemon.threads import in_thread
from agent.ledger.ledger import Ledger
from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.partition.change import journal_folder
from agent.planning.dra_devices import DRIVER, Offering
from agent.planning.dra_mig import OnDemand
from agent.planning.pool import Claimed, GpuPool
from agent.planning.snapshot import Snapshot
from agent.planning.strategy import in_mig_mode
from agent.serving.claim_folder import claims_folder
from agent.serving.claim_instances import ClaimInstances
from agent.serving.claim_specs import ClaimSpecs
from agent.serving.claim_store import ClaimStore
from agent.serving.claims import Claims, Home
from agent.serving.gpu_offers import GpuOffers
from agent.telemetry import logs
from deviceplugin.dra.plugin import DraPlugin
from deviceplugin.dra.values import ClaimRef, DeviceHealth, HealthState
from deviceplugin.pulse import Pulse

# A look takes well under a second.
_LOOK_LASTS_S = 20.0
_BOARDS_PAUSE_S = 5.0


class Dra:
    """Everything that serves DRA on this node; idle until ``run``."""

    def __init__(
        self,
        machine: Machine,
        access: Access,
        node: str,
        *,
        kubelet_dir: Path,
        spec_dir: str,
        state: Callable[[], tuple[Snapshot | None, Ledger]],
        claimed: Callable[[Mapping[str, str]], None],
        look: Callable[[], None],
    ) -> None:
        """``kubelet_dir`` is the kubelet's own, /var/lib/kubelet.

        ``claimed`` is told which GPUs claims have, at every change: names by UUID. ``look`` asks
        for a new look at the node.

        Raises ConfigError for certificates that cannot be used.
        """
        self._node = node
        self._state = state
        self._claimed = claimed
        self._connection = Connection(access)
        self._machine = machine
        self._news = Pulse()
        self._on_demand: Mapping[str, OnDemand] = {}
        self._boards_of: frozenset[str] = frozenset()
        self._taken_in = False
        store = ClaimStore(claims_folder(machine))
        offers = GpuOffers(self._pool)
        self._claims = Claims(
            store,
            home=Home(driver=DRIVER, pool=node, boot=boot_id(machine)),
            fetch=self._fetch,
            offers=offers,
            stages=(
                ClaimInstances(
                    journal_folder(machine),
                    store,
                    InstanceMaker(machine),
                    in_mig_mode=self._in_mig_mode,
                    seen=self._seen,
                    changed=look,
                    in_thread=in_thread,
                ),
            ),
            specs=ClaimSpecs(
                machine.path(spec_dir),
                DRIVER,
                nodes=offers.nodes,
                around=offers.around,
                in_thread=in_thread,
            ),
            in_thread=in_thread,
            changed=lambda: claimed(self._claims.held),
        )
        self._publisher = SlicePublisher(
            self._connection,
            node,
            DRIVER,
            offering=self._offering,
            taint_effect=self._effect,
        )
        self._plugin = DraPlugin(
            DRIVER,
            self._claims,
            kubelet_dir=kubelet_dir,
            instance=os.environ.get("POD_UID") or str(os.getpid()),
            registered=self._registered,
        )

    @property
    def claims(self) -> Claims:
        """Return what is prepared."""
        return self._claims

    async def take_in(self) -> None:
        """Take in what an earlier instance prepared, once."""
        if not self._taken_in:
            await self._claims.load()
            self._taken_in = True
            self._claimed(self._claims.held)

    async def run(self) -> None:
        """Serve, for ever."""
        await asyncio.gather(self._plugin.run(), self._publisher.run(), self._read_boards())

    async def close(self) -> None:
        """End the service."""
        await self._plugin.close()
        self._connection.close()

    def stirred(self) -> None:
        """Take in that the node or its claims have changed."""
        self._news.fire()
        self._publisher.stirred()
        pool = self._pool()
        if pool is not None:
            self._plugin.tell([self._health(name, each) for name, each in pool.health.items()])

    def _fetch(self, claim: ClaimRef) -> dict[str, Any]:
        return read_claim_object(self._connection, claim.namespace, claim.name)

    def _offering(self) -> Offering | None:
        pool = self._pool()
        return None if pool is None else pool.offering

    def _pool(self) -> GpuPool | None:
        snapshot, ledger = self._state()
        if snapshot is None:
            return None
        claimed = Claimed(uuids=self._claims.held, devices=self._claims.allocated)
        dynamic = snapshot.config.plumbline.dra.mig is ClaimedMig.DYNAMIC
        return GpuPool(
            snapshot=snapshot,
            ledger=ledger,
            claimed=claimed,
            on_demand=self._on_demand if dynamic else {},
        )

    def _in_mig_mode(self, uuid: str) -> bool:
        snapshot, _ = self._state()
        gpu = snapshot.gpu(uuid) if snapshot else None
        return gpu is not None and in_mig_mode(gpu)

    async def _seen(self, instances: frozenset[str]) -> None:
        """Wait until the node is known to have MigInstances. Raises HardwareError."""

        def known() -> bool:
            snapshot, _ = self._state()
            return snapshot is not None and instances <= snapshot.instances.keys()

        if not await self._news.until(known, timeout_s=_LOOK_LASTS_S):
            raise HardwareError(
                f"{', '.join(sorted(instances))} made, and not seen within {_LOOK_LASTS_S:.0f} s;"
                " see the agent's log for what keeps it from reading the node"
            )

    async def _read_boards(self) -> None:
        """Find out what GPUs can be divided into, whenever others are there."""
        while True:
            await self._news.until(self._has_other_boards)
            snapshot, _ = self._state()
            gpus = (
                frozenset(gpu.uuid for gpu in snapshot.inventory.gpus) if snapshot else frozenset()
            )
            try:
                self._on_demand = await in_thread(read_on_demand, self._machine)
            except HardwareError as error:
                logs.error("boards_unread", error=error, doing="trying again")
                await asyncio.sleep(_BOARDS_PAUSE_S)
                continue
            self._boards_of = gpus
            self._publisher.stirred()

    def _has_other_boards(self) -> bool:
        snapshot, _ = self._state()
        return (
            snapshot is not None
            and snapshot.config.plumbline.dra.mig is ClaimedMig.DYNAMIC
            and {gpu.uuid for gpu in snapshot.inventory.gpus} != self._boards_of
        )

    def _effect(self) -> str:
        snapshot, _ = self._state()
        return (
            "NoSchedule" if snapshot is None else snapshot.config.plumbline.dra.taint_effect.value
        )

    def _health(self, device: str, why: str | None) -> DeviceHealth:
        return DeviceHealth(
            pool=self._node,
            device=device,
            state=HealthState.HEALTHY if why is None else HealthState.UNHEALTHY,
            message=why or "",
        )

    def _registered(self, refusal: str | None) -> None:
        if refusal is None:
            logs.event("dra_registered", driver=DRIVER)
            self._publisher.registered()
        else:
            logs.error(
                "dra_refused", driver=DRIVER, reason=refusal, doing="waiting for the kubelet"
            )
