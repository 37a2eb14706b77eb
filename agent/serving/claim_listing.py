"""What `plumbline claims` prints: the claims of a node, for whom, and what they have. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from agent.serving.claim_store import StoredClaim
from agent.serving.unreadable_claims import UnreadableClaim
from deviceplugin.holdings import ClaimHolding


def list_claims(
    prepared: Mapping[str, Sequence[StoredClaim]],
    unreadable: Mapping[str, Sequence[UnreadableClaim]],
    holdings: Iterable[ClaimHolding] | None,
) -> list[dict[str, Any]]:
    """Return the claims of each driver as JSON has them, with the pods that use them.

    Pods are null where the kubelet does not say: ``holdings`` is None, or a claim's name is not
    known, whose state is ``unreadable``.
    """
    pods: defaultdict[str, set[str]] = defaultdict(set)
    for each in holdings or ():
        pods[f"{each.namespace}/{each.claim}"].add(f"{each.namespace}/{each.pod}")
    found = [
        {
            "driver": driver,
            **msgspec.to_builtins(claim),
            "pods": None if holdings is None else sorted(pods[str(claim)]),
        }
        for driver, claims in prepared.items()
        for claim in claims
    ]
    return [*found, *_unreadable(unreadable)]


def _unreadable(unreadable: Mapping[str, Sequence[UnreadableClaim]]) -> Iterator[dict[str, Any]]:
    for driver, claims in unreadable.items():
        for claim in claims:
            yield {
                "driver": driver,
                "namespace": None,
                "name": None,
                "uid": claim.file.uid,
                "state": "unreadable",
                "error": str(claim.file),
                "devices": [
                    {"device": name, "request": None, "admin": False}
                    for name in sorted(claim.devices)
                ],
                "pods": None,
            }
