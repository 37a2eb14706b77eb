"""What the kubelet says its pods hold: a client of its PodResourcesLister."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
from msgspec import Struct

from deviceplugin import rpc
from deviceplugin._generated import podresources_v1_pb2 as api
from deviceplugin.errors import PodResourcesUnreachable

# The kubelet answers from memory; one that takes longer is in trouble of its own.
_TIMEOUT_S = 2.0


class Holding(Struct, frozen=True, kw_only=True):
    """One device that a container holds."""

    resource: str
    device: str
    namespace: str
    pod: str
    container: str


class ClaimHolding(Struct, frozen=True, kw_only=True):
    """One ResourceClaim of which a container uses devices."""

    namespace: str
    claim: str
    pod: str


class Holdings(Struct, frozen=True, kw_only=True):
    """The kubelet's whole answer."""

    pods: frozenset[str]
    """Every pod it knows, with and without devices, as ``namespace/pod``."""
    devices: tuple[Holding, ...]
    claims: tuple[ClaimHolding, ...] = ()


def socket_beside(kubelet_dir: Path) -> Path:
    """Return where a kubelet serves PodResources, from where it serves Registration."""
    return kubelet_dir.absolute().parent / "pod-resources" / "kubelet.sock"


async def list_holdings(socket: Path, *, timeout_s: float = _TIMEOUT_S) -> Holdings:
    """Return every device of every pod, in the kubelet's order.

    Raises PodResourcesUnreachable where there is no socket or no answer.
    """
    async with rpc.open_channel(socket) as channel:
        try:
            answer = await rpc.LIST_PODS.on(channel)(
                api.ListPodResourcesRequest(), timeout=timeout_s
            )
        except grpc.aio.AioRpcError as error:
            reason = f"{error.details()} (is the kubelet's pod-resources folder mounted?)"
            raise PodResourcesUnreachable(socket, reason) from error
    devices = tuple(
        Holding(
            resource=given.resource_name,
            device=id_,
            namespace=pod.namespace,
            pod=pod.name,
            container=container.name,
        )
        for pod in answer.pod_resources
        for container in pod.containers
        for given in container.devices
        for id_ in given.device_ids
    )
    pods = frozenset(f"{pod.namespace}/{pod.name}" for pod in answer.pod_resources)
    claims = tuple(
        ClaimHolding(namespace=each.claim_namespace, claim=each.claim_name, pod=pod.name)
        for pod in answer.pod_resources
        for container in pod.containers
        for each in container.dynamic_resources
    )
    return Holdings(pods=pods, devices=devices, claims=claims)
