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
from agent.daemon.boot import boot_id
from agent.daemon.slices import SlicePublisher
from agent.daemon.threads import in_thread
from agent.ledger.ledger import Ledger
from agent.model.machine import Machine
from agent.planning.dra_devices import DRIVER, Offering, device_name
from agent.planning.pool import pool_offering, reason
from agent.planning.snapshot import Snapshot
from agent.serving.claim_specs import ClaimSpecs
from agent.serving.claim_store import ClaimStore, claims_folder
from agent.serving.claims import Claims, Home
from agent.serving.gpu_offers import GpuOffers
from agent.telemetry import logs
from deviceplugin.dra.plugin import DraPlugin
from deviceplugin.dra.values import ClaimRef, DeviceHealth, HealthState


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
    ) -> None:
        """``kubelet_dir`` is the kubelet's own, /var/lib/kubelet.

        ``claimed`` is told which GPUs claims have, at every change: names by UUID.

        Raises ConfigError for certificates that cannot be used.
        """
        self._node = node
        self._state = state
        self._claimed = claimed
        self._connection = Connection(access)
        offers = GpuOffers(state)
        self._claims = Claims(
            ClaimStore(claims_folder(machine)),
            home=Home(driver=DRIVER, pool=node, boot=boot_id(machine)),
            fetch=self._fetch,
            offers=offers,
            stages=(),
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
        """Take in what an earlier instance prepared."""
        await self._claims.load()
        self._claimed(self._claims.held)

    async def run(self) -> None:
        """Serve, for ever."""
        await asyncio.gather(self._plugin.run(), self._publisher.run())

    async def close(self) -> None:
        """End the service."""
        await self._plugin.close()
        self._connection.close()

    def stirred(self) -> None:
        """Take in that the node or its claims have changed."""
        self._publisher.stirred()
        snapshot, _ = self._state()
        if snapshot is not None:
            self._plugin.tell(
                [self._health(each.uuid, snapshot) for each in snapshot.inventory.gpus]
            )

    def _fetch(self, claim: ClaimRef) -> dict[str, Any]:
        return read_claim_object(self._connection, claim.namespace, claim.name)

    def _offering(self) -> Offering | None:
        snapshot, ledger = self._state()
        return None if snapshot is None else pool_offering(snapshot, ledger, self._claims.held)

    def _effect(self) -> str:
        snapshot, _ = self._state()
        return (
            "NoSchedule" if snapshot is None else snapshot.config.plumbline.dra.taint_effect.value
        )

    def _health(self, uuid: str, snapshot: Snapshot) -> DeviceHealth:
        why = reason(snapshot, uuid)
        return DeviceHealth(
            pool=self._node,
            device=device_name(uuid),
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
