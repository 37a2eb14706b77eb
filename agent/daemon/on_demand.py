"""GPUs of which instances are made for claims: what they can be divided into, and who does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.config.own import ClaimedMig
from agent.daemon.threads import in_thread
from agent.discovery.library import Session
from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.model.mig import InstancePlace
from agent.planning.dra_mig import OnDemand
from agent.planning.snapshot import Snapshot
from agent.planning.strategy import in_mig_mode
from agent.telemetry import logs
from deviceplugin.pulse import Pulse

# A look takes well under a second.
_LOOK_LASTS_S = 20.0
_PAUSE_S = 5.0


class InstanceMaker:
    """Divides the GPUs of one machine, instance by instance."""

    def __init__(self, machine: Machine) -> None:
        """Remember the machine."""
        self._machine = machine

    def make(self, folder: Path, place: InstancePlace, made: Callable[[str], None]) -> None:
        """Make an instance, and the nodes that open it. Raises as ``make_instance``."""
        from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415
        from agent.partition.nodes import make_nodes  # noqa: PLC0415
        from agent.partition.one_instance import make_instance  # noqa: PLC0415

        with Session(self._machine):
            make_instance(folder, place, made)
            make_nodes(self._machine, read_mig_gpus())

    def remove(self, folder: Path, made: Mapping[InstancePlace, str | None]) -> None:
        """Take instances of one GPU away. Raises as ``remove_instances``."""
        from agent.partition.one_instance import remove_instances  # noqa: PLC0415

        with Session(self._machine):
            remove_instances(folder, made)

    def make_whole(self, folder: Path, gpu: str) -> None:
        """Have a GPU leave MIG mode. Raises as ``make_whole``."""
        from agent.partition.one_instance import make_whole  # noqa: PLC0415

        with Session(self._machine):
            make_whole(folder, gpu)


class OnDemandGpus:
    """Finds out what GPUs can be divided into, whenever others are there."""

    def __init__(self, machine: Machine, snapshot: Callable[[], Snapshot | None]) -> None:
        """``snapshot`` returns what is known of the node."""
        self.found: Mapping[str, OnDemand] = {}
        """By UUID; empty while the configuration has no instances made for claims."""
        self._machine = machine
        self._snapshot = snapshot
        self._news = Pulse()
        self._read_of: frozenset[str] = frozenset()

    def stirred(self) -> None:
        """Take in that the node has changed."""
        self._news.fire()

    async def run(self, changed: Callable[[], None]) -> None:
        """Read again whenever that is due, for ever; ``changed`` is told."""
        while True:
            await self._news.until(self._is_due)
            gpus = self._gpus()
            try:
                self.found = await in_thread(read_on_demand, self._machine) if gpus else {}
            except HardwareError as error:
                logs.error("boards_unread", error=error, doing="trying again")
                await asyncio.sleep(_PAUSE_S)
                continue
            self._read_of = gpus
            changed()

    async def seen(self, instances: frozenset[str]) -> None:
        """Wait until the node is known to have MigInstances. Raises HardwareError."""

        def known() -> bool:
            snapshot = self._snapshot()
            return snapshot is not None and instances <= snapshot.instances.keys()

        if not await self._news.until(known, timeout_s=_LOOK_LASTS_S):
            raise HardwareError(
                f"{', '.join(sorted(instances))} made, and not seen within {_LOOK_LASTS_S:.0f} s;"
                " see the agent's log for what keeps it from reading the node"
            )

    def in_mig_mode(self, uuid: str) -> bool:
        """Return True for a GPU that is in MIG mode, as far as is known."""
        snapshot = self._snapshot()
        gpu = snapshot.gpu(uuid) if snapshot else None
        return gpu is not None and in_mig_mode(gpu)

    def _gpus(self) -> frozenset[str]:
        """Return the GPUs to read: none where nothing is made for claims."""
        snapshot = self._snapshot()
        if snapshot is None or snapshot.config.plumbline.dra.mig is not ClaimedMig.DYNAMIC:
            return frozenset()
        return frozenset(gpu.uuid for gpu in snapshot.inventory.gpus)

    def _is_due(self) -> bool:
        return self._gpus() != self._read_of


def read_on_demand(machine: Machine) -> Mapping[str, OnDemand]:
    """Return what the GPUs of a machine can be divided into, by UUID. Raises HardwareError.

    GPUs that cannot do MIG are left out, and with drivers up to 535 those that are not in MIG
    mode.
    """
    from agent.discovery.mig_gpus import read_mig_gpus  # noqa: PLC0415

    with Session(machine):
        readings = read_mig_gpus()
    return {
        each.uuid: OnDemand(profiles=each.profiles, live_mode=not each.needs_reset)
        for each in readings
        if each.capable and each.profiles
    }
