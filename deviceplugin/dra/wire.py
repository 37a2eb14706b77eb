"""Between our values and the kubelet's DRA messages; the only place that knows both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deviceplugin._generated import dra_health_v1alpha1_pb2 as health_api
from deviceplugin._generated import dra_v1_pb2 as api
from deviceplugin.dra.values import (
    ClaimRef,
    DeviceHealth,
    HealthState,
    Prepared,
    PreparedDevice,
    Refused,
    Released,
)

_STATES = {
    HealthState.UNKNOWN: health_api.UNKNOWN,
    HealthState.HEALTHY: health_api.HEALTHY,
    HealthState.UNHEALTHY: health_api.UNHEALTHY,
}


def claims(messages: Iterable[api.Claim]) -> tuple[ClaimRef, ...]:
    """Return the claims of a request."""
    return tuple(ClaimRef(namespace=m.namespace, name=m.name, uid=m.uid) for m in messages)


def prepare_answer(found: Mapping[str, Prepared | Refused]) -> api.NodePrepareResourcesResponse:
    """Return what the kubelet is told of prepared claims."""
    return api.NodePrepareResourcesResponse(
        claims={
            uid: api.NodePrepareResourceResponse(error=each.reason)
            if isinstance(each, Refused)
            else api.NodePrepareResourceResponse(devices=[_device(d) for d in each.devices])
            for uid, each in found.items()
        }
    )


def unprepare_answer(
    found: Mapping[str, Released | Refused],
) -> api.NodeUnprepareResourcesResponse:
    """Return what the kubelet is told of claims that were given back."""
    return api.NodeUnprepareResourcesResponse(
        claims={
            uid: api.NodeUnprepareResourceResponse(
                error=each.reason if isinstance(each, Refused) else ""
            )
            for uid, each in found.items()
        }
    )


def health_list(
    devices: Sequence[DeviceHealth], timeout_s: int
) -> health_api.NodeWatchResourcesResponse:
    """Return the message with the health of every device; it holds for so many seconds."""
    return health_api.NodeWatchResourcesResponse(
        devices=[
            health_api.DeviceHealth(
                device=health_api.DeviceIdentifier(pool_name=each.pool, device_name=each.device),
                health=_STATES[each.state],
                last_updated_time=each.since_s,
                health_check_timeout_seconds=timeout_s,
                message=each.message,
            )
            for each in devices
        ]
    )


def _device(device: PreparedDevice) -> api.Device:
    return api.Device(
        request_names=device.requests,
        pool_name=device.pool,
        device_name=device.device,
        cdi_device_ids=device.cdi_devices,
        share_id=device.share_id,
    )
