"""What the containers of a claim are told about its devices, as files (KEP-5304). Pure.

Paths, kinds and fields are those of metadata.resource.k8s.io: a stream of JSON documents, one for
each version of the format, the newest first, of which a reader takes the first that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from agent.planning.dra_devices import Value, Version
from agent.planning.slices import attribute_value

POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
"""The annotation of a claim that was made from a template: what its pod calls it."""

_VERSIONS = ("v1beta1", "v1alpha1")
_GROUP = "metadata.resource.k8s.io"
_FOLDER = "/var/run/kubernetes.io/dra-device-attributes"


class DescribedClaim(Struct, frozen=True, kw_only=True):
    """Whose devices they are."""

    namespace: str
    name: str
    uid: str
    pod_claim: str | None
    """What its pod calls a claim of a template; None for a claim that was made by itself."""


class DescribedDevice(Struct, frozen=True, kw_only=True):
    """One device of a request."""

    driver: str
    pool: str
    name: str
    attributes: Mapping[str, Value | Version]


def container_path(claim: DescribedClaim, request: str, driver: str) -> str:
    """Return where a container finds what a driver says of a request of its claim."""
    if claim.pod_claim is None:
        folder = f"resourceclaims/{claim.name}"
    else:
        folder = f"resourceclaimtemplates/{claim.pod_claim}"
    return f"{_FOLDER}/{folder}/{request}/{driver}-metadata.json"


def encode_metadata(
    claim: DescribedClaim, requests: Mapping[str, Sequence[DescribedDevice]]
) -> bytes:
    """Return the file about devices, by the requests that they were allocated to.

    A sub-request of a prioritised list is ``request/subrequest``.
    """
    content = {
        "metadata": {
            "name": claim.name,
            "namespace": claim.namespace,
            "uid": claim.uid,
            # It counts the changes of a file, and these are not changed.
            "generation": 1,
        },
        **({} if claim.pod_claim is None else {"podClaimName": claim.pod_claim}),
        "requests": [
            {"name": request, "devices": [_device(each) for each in devices]}
            for request, devices in requests.items()
        ],
    }
    documents = (
        {"kind": "DeviceMetadata", "apiVersion": f"{_GROUP}/{version}", **content}
        for version in _VERSIONS
    )
    return "".join(json.dumps(each, indent=2) + "\n" for each in documents).encode()


def _device(device: DescribedDevice) -> dict[str, Any]:
    return {
        "driver": device.driver,
        "pool": device.pool,
        "name": device.name,
        "attributes": {name: attribute_value(value) for name, value in device.attributes.items()},
    }
