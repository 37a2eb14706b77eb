"""GPUs of which instances are made for claims: what they can be divided into, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agent.discovery.library import Session
from agent.model.machine import Machine
from agent.model.mig import InstancePlace
from agent.planning.dra_mig import OnDemand


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
