"""What the GPU driver of this node has to give, as claims ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.model.errors import ClaimError, HardwareError
from agent.planning import cdi
from agent.planning.claims import Result
from agent.planning.dra_devices import Subject
from agent.planning.pool import GpuPool, gpus_of
from agent.serving.claim_store import StoredDevice


class GpuOffers:
    """Answers from what is known of the node at the moment."""

    def __init__(self, pool: Callable[[], GpuPool | None]) -> None:
        """``pool`` returns what there is to give; None while that is not known."""
        self._pool = pool

    def subjects(self) -> Mapping[str, Subject]:
        """Return what the names of devices stand for. Raises ClaimError while that is not known."""
        return self._known().subjects

    def fault(self, subject: Subject, result: Result) -> str | None:
        """Return why a subject must not be given for a result, whatever claims have; None where it
        may: nobody else has it, and it is well, or its taints are tolerated.
        """
        pool = self._known()
        effect = pool.snapshot.config.plumbline.dra.taint_effect.value
        illness = pool.illness(subject)
        if illness is not None and not result.tolerates(pool.taints(subject), effect):
            return illness
        return pool.held(subject)

    def addresses(self, subject: Subject) -> tuple[str, ...]:
        """Return where the GPUs of a subject are on the PCI bus."""
        return tuple(self._known().gpus[uuid].address for uuid in gpus_of(subject))

    def nodes(self, device: StoredDevice) -> tuple[str, ...]:
        """Return the device nodes of a device. Raises HardwareError, ClaimError."""
        snapshot = self._known().snapshot
        found: list[str] = []
        for uuid in device.uuids:
            there = snapshot.device(uuid)
            if there is None:
                raise HardwareError(f"{device.device}: {uuid} is no longer on this node")
            offered = cdi.cdi_gpu(there)
            if offered is None:
                raise HardwareError(f"{device.device}: {uuid} has no device node")
            found += offered.nodes
        return tuple(dict.fromkeys(found))

    def around(self) -> cdi.Surroundings:
        """Return what every container with a GPU gets. Raises ClaimError."""
        snapshot = self._known().snapshot
        return cdi.Surroundings(
            control_nodes=snapshot.inventory.control_nodes,
            dev_root=cdi.Root(host=snapshot.config.flags.dev_root),
        )

    def _known(self) -> GpuPool:
        pool = self._pool()
        if pool is None:
            raise ClaimError("the node's GPUs have not been read yet")
        return pool
