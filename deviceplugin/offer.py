"""What one resource offers: the devices that are wanted, and those on their way out."""

from __future__ import annotations

from msgspec.structs import replace

from deviceplugin.values import Device


class Offer:
    """The devices of one resource as the kubelet is to be told of them now.

    A device is never taken from the list at once. A kubelet that has chosen it, and waits for
    the answer to its Allocate, ends in a nil pointer when the list it then looks into has
    lost the device (pkg/kubelet/cm/devicemanager/manager.go, allocateContainerResources; seen
    with 1.34 to 1.36). So it is listed as unhealthy first, which keeps the kubelet from
    choosing it, and forgotten once nothing can be under way any more.
    """

    def __init__(self, devices: tuple[Device, ...]) -> None:
        """Start with ``devices``."""
        self.wanted = devices
        self.devices = devices
        """What a stream is sent."""

    @property
    def departing(self) -> bool:
        """Return whether some devices are listed only because they were."""
        return self.devices != self.wanted

    def change(self, devices: tuple[Device, ...]) -> None:
        """Want other devices from now on."""
        kept = {device.id for device in devices}
        gone = [replace(each, healthy=False) for each in self.devices if each.id not in kept]
        self.wanted = devices
        self.devices = tuple(sorted((*devices, *gone), key=lambda device: device.id))

    def forget_departed(self) -> None:
        """List only what is wanted."""
        self.devices = self.wanted
