"""Keeps the CDI specification files equal to what the snapshot offers."""

from __future__ import annotations

from agent.model.machine import Machine
from agent.planning import cdi
from agent.planning.snapshot import Snapshot
from agent.serving import cdi_files
from agent.telemetry import logs


def publish_specs(machine: Machine, snapshot: Snapshot) -> None:
    """Write the specifications a strategy needs, and remove those that none does.

    Blocking. Raises as ``cdi_files.publish``. The files stay when the agent stops: containers
    that are restarted meanwhile still resolve their names.
    """
    flags = snapshot.config.flags
    folder = machine.path(snapshot.config.plumbline.cdi.spec_dir)
    if not flags.plugin.uses_cdi:
        _log(cdi_files.withdraw(folder))
        return
    gpus = [cdi.cdi_gpu(gpu, gpu.drm_nodes) for gpu in snapshot.inventory.gpus]
    document = cdi.gpu_spec(
        [gpu for gpu in gpus if gpu is not None],
        {flags.plugin.device_id_strategy},
        cdi.Surroundings(
            control_nodes=snapshot.inventory.control_nodes,
            dev_root=cdi.Root(host=flags.dev_root),
        ),
    )
    _log(cdi_files.publish(folder, {} if document is None else {cdi.CdiClass.GPU: document}))


def _log(published: cdi_files.Published) -> None:
    if published.written or published.removed:
        logs.event("cdi", written=published.written, removed=published.removed)
    if published.foreign:
        logs.warning("cdi_foreign_files", left_alone=published.foreign)
