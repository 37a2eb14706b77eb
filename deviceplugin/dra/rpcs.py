"""The gRPC methods of a DRA driver, in every version, and of its registration."""

from __future__ import annotations

from deviceplugin._generated import dra_health_v1alpha1_pb2 as health_api
from deviceplugin._generated import dra_v1_pb2 as dra_api
from deviceplugin._generated import pluginregistration_v1_pb2 as registration_api
from deviceplugin.rpc import Rpc

PLUGIN_TYPE = "DRAPlugin"
_REGISTRATION = "pluginregistration.Registration"
_HEALTH = "v1alpha1.DRAResourceHealth"
_VERSIONS = ("v1", "v1beta1")

# The kubelet takes the first that it knows; it knows services by version and name.
SUPPORTED = (*(f"{version}.DRAPlugin" for version in _VERSIONS), _HEALTH)

GET_INFO = Rpc(
    service=_REGISTRATION,
    name="GetInfo",
    request=registration_api.InfoRequest,
    answer=registration_api.PluginInfo,
)
NOTIFY = Rpc(
    service=_REGISTRATION,
    name="NotifyRegistrationStatus",
    request=registration_api.RegistrationStatus,
    answer=registration_api.RegistrationStatusResponse,
)
# v1beta1 has the messages of v1 but for share_id, which its readers skip.
PREPARE = {
    version: Rpc(
        service=f"k8s.io.kubelet.pkg.apis.dra.{version}.DRAPlugin",
        name="NodePrepareResources",
        request=dra_api.NodePrepareResourcesRequest,
        answer=dra_api.NodePrepareResourcesResponse,
    )
    for version in _VERSIONS
}
UNPREPARE = {
    version: Rpc(
        service=f"k8s.io.kubelet.pkg.apis.dra.{version}.DRAPlugin",
        name="NodeUnprepareResources",
        request=dra_api.NodeUnprepareResourcesRequest,
        answer=dra_api.NodeUnprepareResourcesResponse,
    )
    for version in _VERSIONS
}
WATCH_HEALTH = Rpc(
    service=_HEALTH,
    name="NodeWatchResources",
    request=health_api.NodeWatchResourcesRequest,
    answer=health_api.NodeWatchResourcesResponse,
)
