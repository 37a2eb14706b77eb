"""Keeps the CDI specification files true to the node, for pods to come and pods that run.

A container keeps the CDI names of its first start; the kubelet asks no more when it starts the
container again. So a name once written stays resolvable while the node has what it names,
whatever strategy is in force by then.
"""

from __future__ import annotations

from pathlib import Path

from agent.model.errors import PlumblineError
from agent.model.machine import Machine
from agent.model.mig_instance import whole_and_parts
from agent.planning import cdi
from agent.planning.cdi import CdiClass
from agent.planning.device_list import enabled_features, obstacle
from agent.planning.mps import SHM, Rendezvous, rendezvous_of
from agent.planning.snapshot import Snapshot
from agent.serving import cdi_files
from agent.telemetry import logs


def publish_specs(machine: Machine, snapshot: Snapshot) -> None:
    """Write the specifications that a CDI strategy needs; without one, maintain those there are.

    A specification without GPUs or nodes to name is left as it is: what does not answer now
    may answer again. Files stay when the agent stops, and in a folder that is no longer
    ``plumbline.cdi.specDir``.

    Blocking. Raises as ``cdi_files.publish`` under a CDI strategy; without one no answer
    depends on the files, and what fails is only logged.
    """
    _warn_of_obstacles(snapshot)
    folder = machine.path(snapshot.config.plumbline.cdi.spec_dir)
    specs = _specs(machine, snapshot)
    if snapshot.config.flags.plugin.uses_cdi:
        _log(cdi_files.publish(folder, specs))
        return
    try:
        _maintain(folder, specs, snapshot)
    except PlumblineError as error:
        logs.warning("cdi_not_maintained", error=error, doing="going on: no CDI strategy is chosen")


def _warn_of_obstacles(snapshot: Snapshot) -> None:
    for gpu in snapshot.inventory.gpus:
        for device in whole_and_parts(gpu):
            if (reason := obstacle(device, snapshot.config.flags)) is not None:
                logs.warning("gpu_cannot_be_given", gpu=device.uuid, reason=reason)


def _maintain(folder: Path, specs: dict[CdiClass, dict[str, object]], snapshot: Snapshot) -> None:
    if _is_of_another_node(cdi_files.device_names(folder, CdiClass.GPU), snapshot):
        cdi_files.remove(folder, CdiClass.GPU)
        logs.event("cdi", removed=cdi.file_name(CdiClass.GPU), why="it names no GPU of this node")
    _log(cdi_files.refresh(folder, specs))


def _is_of_another_node(names: tuple[str, ...], snapshot: Snapshot) -> bool:
    """Return True when a file names GPUs and none of this node; a GPU that is silent may be it."""
    inventory = snapshot.inventory
    if not names or not inventory.gpus or inventory.unavailable:
        return False
    return cdi.is_stale(names, (*inventory.gpus, *snapshot.departed))


def _specs(machine: Machine, snapshot: Snapshot) -> dict[CdiClass, dict[str, object]]:
    inventory, flags = snapshot.inventory, snapshot.config.flags
    around = cdi.Surroundings(
        control_nodes=inventory.control_nodes, dev_root=cdi.Root(host=flags.dev_root)
    )
    gpus, departed = cdi.cdi_gpus(inventory.gpus), cdi.cdi_gpus(snapshot.departed)
    found = {CdiClass.GPU: cdi.gpu_spec(gpus, around, departed=departed)}
    found[CdiClass.MPS] = cdi.mps_spec(_rendezvous(machine, snapshot))
    nodes = cdi.feature_nodes(inventory.feature_nodes)
    for feature in enabled_features(flags):
        found[feature] = cdi.node_spec(feature, nodes.get(feature, ()), around)
    return {cdi_class: document for cdi_class, document in found.items() if document is not None}


def _rendezvous(machine: Machine, snapshot: Snapshot) -> dict[str, Rendezvous]:
    """Return how to reach the MPS daemons that there are, and those that are to be."""
    root, shm = machine.path(snapshot.config.flags.mps_folder), machine.path(SHM)
    sets = snapshot.catalog.mps_sets
    planned = {gpu: rendezvous_of(each, str(root), str(shm)) for each in sets for gpu in each.gpus}
    return {**planned, **snapshot.served.rendezvous}


def _log(published: cdi_files.Published) -> None:
    if published.written:
        logs.event("cdi", written=published.written)
