"""What the NIC driver of this node has to give, as claims ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.model.errors import ClaimError, HardwareError
from agent.planning import cdi
from agent.planning.claims import Result
from agent.planning.dra_devices import NicFunction, Subject
from agent.planning.dra_nics import NicPool
from agent.planning.nics import RDMA_CM
from agent.serving.claim_store import StoredDevice


class NicOffers:
    """Answers from what is known of the node at the moment."""

    def __init__(self, pool: Callable[[], NicPool | None]) -> None:
        """``pool`` returns what there is to give; None while that is not known."""
        self._pool = pool

    def subjects(self) -> Mapping[str, Subject]:
        """Return what the names of devices stand for. Raises ClaimError while that is not known."""
        return self._known().subjects

    def fault(self, subject: Subject, result: Result) -> str | None:  # noqa: ARG002 - an Offers
        """Return why a subject must not be given, whatever claims have; None where it may."""
        if not isinstance(subject, NicFunction):
            raise NotImplementedError
        return self._known().fault(subject)

    def addresses(self, subject: Subject) -> tuple[str, ...]:  # noqa: ARG002 - an Offers
        """Return none: a function has no GPUs."""
        return ()

    def nodes(self, device: StoredDevice) -> tuple[str, ...]:
        """Return the device nodes of a device. Raises HardwareError, ClaimError."""
        pool = self._known()
        return tuple(_verbs_node(pool, device.device, address) for address in device.uuids)

    def around(self) -> cdi.Surroundings:
        """Return what every container with a NIC gets. Raises ClaimError."""
        snapshot = self._known().snapshot
        rdma = snapshot.inventory.feature_nodes.mofed
        return cdi.Surroundings(
            control_nodes=tuple(node for node in rdma if node == RDMA_CM),
            dev_root=cdi.Root(host=snapshot.config.flags.dev_root),
            env=(),
        )

    def _known(self) -> NicPool:
        pool = self._pool()
        if pool is None:
            raise ClaimError("the node's NICs have not been read yet")
        return pool


def _verbs_node(pool: NicPool, name: str, address: str) -> str:
    nic = pool.nic(address)
    if nic is None:
        raise HardwareError(f"{name}: this node no longer has an RDMA device at {address}")
    if nic.verbs_node is None:
        raise HardwareError(
            f"{name}: {nic.name} has no device node in /dev/infiniband; load the module ib_uverbs"
        )
    return nic.verbs_node
