"""What the stand-in knows of each registered resource."""

from __future__ import annotations

import asyncio

from msgspec import Struct, field

from deviceplugin.standin.plugin import PluginClient
from deviceplugin.values import Device

# A resource keeps its capacity in the node status for this long after its plugin is gone.
STOP_GRACE_S = 300.0


class ResourceState(Struct, kw_only=True):
    """One resource as the device manager sees it."""

    client: PluginClient | None = None
    """The plugin that is asked: the newest that registered. None after a restart."""
    devices: dict[str, Device] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)
    unhealthy: set[str] = field(default_factory=set)
    is_listed: bool = False
    """Whether a list came since the plugin connected."""
    stopped_s: float | None = None
    """Event loop time at which the plugin was found gone."""

    def connect(self, client: PluginClient) -> None:
        """Ask this plugin from now on."""
        self.client = client
        self.is_listed = False
        self.stopped_s = None

    def receive(self, devices: tuple[Device, ...]) -> None:
        """Take a list: it replaces all that was known."""
        self.is_listed = True
        self.devices = {device.id: device for device in devices}
        self.healthy = {device.id for device in devices if device.healthy}
        self.unhealthy = self.devices.keys() - self.healthy

    def disconnect(self) -> None:
        """Take every device for unhealthy, until a later list; nobody is asked any more."""
        self.client = None
        self.unhealthy |= self.healthy
        self.healthy = set()
        self.is_listed = False
        self.stopped_s = asyncio.get_running_loop().time()

    @property
    def is_forgotten(self) -> bool:
        """Return whether the plugin has been gone for so long that nothing of it counts."""
        if self.stopped_s is None:
            return False
        return asyncio.get_running_loop().time() - self.stopped_s > STOP_GRACE_S
