"""One driver of the second door: claims prepared for the kubelet, slices for the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from agent.cluster.connection import Connection
from agent.cluster.slices import NodeSlices, read_claim_object
from agent.daemon.slices import SlicePublisher
from agent.daemon.threads import in_thread
from agent.planning.cdi import Surroundings
from agent.planning.dra_devices import Offering
from agent.serving.claim_metadata import Attributes, ClaimMetadata
from agent.serving.claim_specs import ClaimSpecs
from agent.serving.claim_stages import Stage
from agent.serving.claim_store import ClaimStore, StoredDevice
from agent.serving.claims import Claims, Home, Offers
from agent.telemetry import logs
from deviceplugin.dra.plugin import DraPlugin
from deviceplugin.dra.values import ClaimRef, DeviceHealth, HealthState


class Site(Struct, frozen=True, kw_only=True):
    """Where the drivers of a node serve; what they have in common."""

    connection: Connection
    slices: NodeSlices
    """What the API server has of this node's."""
    node: str
    instance: str
    """What no other instance of the drivers is called."""
    boot: str
    """The node's boot id."""
    kubelet_dir: Path
    """The kubelet's own, /var/lib/kubelet."""
    spec_dir: Path
    """Where runtimes look for CDI specifications."""
    metadata: Callable[[], bool]
    """Returns whether containers are told about their devices in files."""


class DriverOffers(Offers, Protocol):
    """What a driver has to give, and how containers get it."""

    def nodes(self, device: StoredDevice) -> tuple[str, ...]:
        """Return the device nodes of a device. Raises HardwareError without any."""
        ...

    def around(self) -> Surroundings:
        """Return what every container of the driver gets."""
        ...


class DriverPool(Protocol):
    """What a driver publishes."""

    @property
    def offering(self) -> Offering:
        """Everything in the pool."""
        ...

    @property
    def health(self) -> Mapping[str, str | None]:
        """What is wrong with devices, by name; None with those that are well."""
        ...


class DraDriver:
    """Serves one driver; idle until ``run``."""

    def __init__(
        self,
        name: str,
        site: Site,
        store: ClaimStore,
        *,
        offers: DriverOffers,
        pool: Callable[[], DriverPool | None],
        taint_effect: Callable[[], str],
        stages: Sequence[Stage] = (),
        changed: Callable[[], None],
    ) -> None:
        """``pool`` returns what is to be published, None while that is not known, and
        ``taint_effect`` what becomes of claims for a device that is not well.

        ``stages`` are those of a claim before its specification. ``changed`` is told of every
        change of what claims have.
        """
        self.name = name
        self._site = site
        self._pool = pool
        specs = ClaimSpecs(
            site.spec_dir, name, nodes=offers.nodes, around=offers.around, in_thread=in_thread
        )
        metadata = ClaimMetadata(
            site.kubelet_dir / "plugins" / name / "dra-device-metadata",
            name,
            wanted=site.metadata,
            attributes=self._attributes,
            in_thread=in_thread,
        )
        self.claims = Claims(
            store,
            home=Home(driver=name, pool=site.node, boot=site.boot),
            fetch=self._fetch,
            offers=offers,
            stages=stages,
            files=(metadata, specs),
            in_thread=in_thread,
            changed=changed,
        )
        self._publisher = SlicePublisher(
            site.connection,
            site.slices,
            site.node,
            name,
            offering=self._offering,
            taint_effect=taint_effect,
        )
        self._plugin = DraPlugin(
            name,
            self.claims,
            kubelet_dir=site.kubelet_dir,
            instance=site.instance,
            registered=self._registered,
        )

    async def take_in(self) -> None:
        """Take in what an earlier instance prepared. Raises HardwareError."""
        await self.claims.load()

    async def run(self) -> None:
        """Serve, for ever."""
        await asyncio.gather(self._plugin.run(), self._publisher.run())

    async def close(self) -> None:
        """End the service."""
        await self._plugin.close()

    def slices_changed(self) -> None:
        """Take in that the API server has other slices."""
        self._publisher.stirred()

    def stirred(self) -> None:
        """Take in that what is to be published may have changed."""
        self._publisher.stirred()
        pool = self._pool()
        if pool is not None:
            self._plugin.tell([self._health(name, why) for name, why in pool.health.items()])

    def _fetch(self, claim: ClaimRef) -> dict[str, Any]:
        return read_claim_object(self._site.connection, claim.namespace, claim.name)

    def _offering(self) -> Offering | None:
        pool = self._pool()
        return None if pool is None else pool.offering

    def _attributes(self, device: str) -> Attributes:
        """Return what is published of a device; nothing of one that is not there any more."""
        offering = self._offering()
        devices = () if offering is None else offering.devices
        return next((each.attributes for each in devices if each.name == device), {})

    def _health(self, device: str, why: str | None) -> DeviceHealth:
        return DeviceHealth(
            pool=self._site.node,
            device=device,
            state=HealthState.HEALTHY if why is None else HealthState.UNHEALTHY,
            message=why or "",
        )

    def _registered(self, refusal: str | None) -> None:
        if refusal is None:
            logs.event("dra_registered", driver=self.name)
            self._publisher.registered()
        else:
            logs.error(
                "dra_refused", driver=self.name, reason=refusal, doing="waiting for the kubelet"
            )
