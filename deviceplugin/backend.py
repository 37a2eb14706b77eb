"""The port behind which the devices are: what the kubelet's questions are answered from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deviceplugin.values import ContainerAllocation, PreferenceRequest


class Backend(Protocol):
    """Answers from memory; called on the event loop, so it must be quick and never block."""

    def prefer(self, resource: str, request: PreferenceRequest) -> Sequence[str]:
        """Return the best ``request.size`` device ids.

        Whatever it returns or raises, the kubelet gets a valid answer: an error here would
        fail a pod over a matter of taste.
        """
        ...

    def allocate(self, resource: str, device_ids: Sequence[str]) -> ContainerAllocation:
        """Return what one container needs for these devices.

        Raises AllocationRefused when they cannot be given; the pod fails with its message.
        """
        ...
