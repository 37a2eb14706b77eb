"""The simulated machine below the node."""

from __future__ import annotations

from pathlib import Path

from agent.daemon.xid_record import PATH as XIDS
from agent.simulation import machines
from testbed.lists import parse_list


class SimulatedMachine:
    """A machine in a folder; what is broken on it can be mended again."""

    def __init__(self, folder: Path, profile: str) -> None:
        """Make the machine, and the folder for CDI specifications that containerd watches."""
        self.folder = folder
        self._lost: set[str] = set()
        machines.create(profile, folder)
        (folder / "var/run/cdi").mkdir(parents=True)

    @property
    def uuids(self) -> list[str]:
        """Return the UUIDs of its GPUs by index."""
        return list(self._gpus())

    def numa_node(self, uuid: str) -> int:
        """Return the NUMA node of a GPU, as the kernel tells it."""
        address = self._gpus()[uuid]
        return int(self._read(f"bus/pci/devices/{address}/numa_node"))

    def cpus(self, node: int) -> set[int]:
        """Return the CPUs of a NUMA node, as the kernel tells them."""
        return parse_list(self._read(f"devices/system/node/node{node}/cpulist"))

    def xid(self, gpu: int | str, code: int = 79) -> None:
        """Make the driver report an Xid error on a GPU, by index or UUID."""
        machines.inject_xid(self.folder, str(gpu), code)

    def lose(self, gpu: int | str, *, silently: bool = False) -> None:
        """Let a GPU fall off the bus."""
        machines.lose(self.folder, str(gpu), silently=silently)
        self._lost.add(str(gpu))

    def mend(self) -> None:
        """Bring back every GPU that was lost."""
        while self._lost:
            machines.restore(self.folder, self._lost.pop())

    def forget_xids(self) -> None:
        """Have the next agent know nothing of Xids that an earlier one has heard."""
        (self.folder / XIDS.removeprefix("/")).unlink(missing_ok=True)

    def _gpus(self) -> dict[str, str]:
        return {gpu.uuid: gpu.address for gpu in machines.look(self.folder).gpus}

    def _read(self, path: str) -> str:
        return (self.folder / "sys" / path).read_text()
