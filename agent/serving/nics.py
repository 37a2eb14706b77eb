"""Gives a container the NICs beside its GPUs, as far as the kubelet's answer is concerned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from agent.model.inventory import Gpu
from agent.planning.nics import NCCL_IB_HCA, RDMA_CM, Allotment, allot, nccl_hcas
from agent.planning.snapshot import Snapshot
from agent.planning.summary import CONTAINER_PATH, PATH_VARIABLE, summary
from agent.serving.nic_grants import NicGrants
from agent.telemetry import logs
from deviceplugin.values import DeviceNode, Mount


class NicAnswer(Struct, frozen=True, kw_only=True):
    """What one container needs for its NICs."""

    allotment: Allotment
    envs: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()


def give_nics(
    grants: NicGrants,
    snapshot: Snapshot,
    resource: str,
    devices: Sequence[str],
    gpus: Sequence[Gpu],
) -> NicAnswer | None:
    """Return what a container with these devices needs; None where no NICs are given.

    Writes the container's summary: into the page cache only, so that the kubelet does not wait.
    One that cannot be written is logged, and the container does without.
    """
    wanted = snapshot.config.plumbline.nics
    if not wanted.enabled:
        return None
    ordered = sorted({gpu.uuid: gpu for gpu in gpus}.values(), key=lambda gpu: gpu.index)
    allotment = allot(
        snapshot.inventory,
        ordered,
        wanted,
        grants.taken(besides=frozenset(devices)),
        claimed=grants.claimed,
    )
    envs = {NCCL_IB_HCA: nccl_hcas(allotment.nics)} if allotment.nics else {}
    document = summary(snapshot, resource, devices, ordered, allotment)
    mounts: tuple[Mount, ...] = ()
    try:
        path = grants.grant(Path(wanted.summary_dir), document, allotment.nics)
    except OSError as error:
        logs.error(
            "summary_not_written",
            folder=wanted.summary_dir,
            reason=error.strerror or error,
            doing="giving the NICs without it",
        )
    else:
        mounts = (Mount(container_path=CONTAINER_PATH, host_path=str(path), read_only=True),)
        envs[PATH_VARIABLE] = CONTAINER_PATH
    return NicAnswer(
        allotment=allotment,
        envs=envs,
        mounts=mounts,
        device_nodes=_device_nodes(snapshot, allotment),
    )


def _device_nodes(snapshot: Snapshot, allotment: Allotment) -> tuple[DeviceNode, ...]:
    if not allotment.nics:
        return ()
    root = snapshot.config.flags.dev_root.rstrip("/")
    manager = [node for node in snapshot.inventory.feature_nodes.mofed if node == RDMA_CM]
    return tuple(
        DeviceNode(container_path=path, host_path=root + path, permissions="rw")
        for path in (*allotment.device_nodes, *manager)
    )
