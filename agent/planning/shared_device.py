"""How one device is shared. Pure."""

from __future__ import annotations

from msgspec import Struct

from agent.config.sharing import TimeSlice


class SharedDevice(Struct, frozen=True, kw_only=True):
    """How one device is shared."""

    path: str
    """The entry of the configuration: ``sharing.timeSlicing.resources[0]``."""
    resource: str
    """What its Replicas are offered as."""
    replicas: int
    most: int | None = None
    """How many Replicas one container may ask for; None: any number."""
    distinct: bool = False
    """True when a container must not get two Replicas of one device."""
    time_slice: TimeSlice | None = None
    """What the driver is told of the GPU's turns; None: nothing."""
    weights: tuple[int, ...] | None = None
    """Under MPS what each Replica gets, in proportion; None: the devices take turns."""

    @property
    def by_mps(self) -> bool:
        """Return True for a share through MPS, False for turns."""
        return self.weights is not None
