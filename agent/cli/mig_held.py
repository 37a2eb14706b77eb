"""Who was given what of a node's GPUs, as the MIG commands ask: the kubelet's pods, and claims."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.model.errors import ConfigError, HardwareError, KubeletError

if TYPE_CHECKING:
    from agent.model.machine import Machine
    from agent.planning.mig_holders import Held
    from deviceplugin.holdings import Holdings

KUBELET_DIR = Path("/var/lib/kubelet/device-plugins")


def held_on(node: Machine, kubelet_dir: Path | None, *, simulated: bool) -> Held:
    """Return who was given which device, by UUID.

    Raises KubeletError, HardwareError where that is not known.
    """
    # A simulated machine has the kubelet that is named, or none.
    unserved = simulated and kubelet_dir is None
    held = {} if unserved else held_by_pods(kubelet_dir)
    for uuid, claim in held_by_claims(node).items():
        held[uuid] = (*held.get(uuid, ()), f"claim {claim}")
    return held


def held_by_claims(node: Machine) -> dict[str, str]:
    """Return which ResourceClaims have which GPU, as the agent wrote it down.

    Raises HardwareError for what cannot be read: what that claim has is not known.
    """
    from agent.serving.claim_folder import claims_folder  # noqa: PLC0415
    from agent.serving.claim_store import ClaimStore, held_uuids  # noqa: PLC0415

    claims, faults = ClaimStore(claims_folder(node)).read()
    if lost := [each for each in faults if not each.copied]:
        raise HardwareError(f"{'; '.join(map(str, lost))}; nobody knows which GPUs that claim has")
    return held_uuids(claims)


def held_by_pods(kubelet_dir: Path | None) -> dict[str, tuple[str, ...]]:
    """Return which pods hold which device, by UUID; none where no kubelet serves.

    Raises KubeletError where one is there and does not answer, or may not know all its pods yet:
    what they hold is not known.
    """
    from deviceplugin.holdings import socket_beside  # noqa: PLC0415

    socket = socket_beside(kubelet_dir or KUBELET_DIR)
    if not socket.exists():
        if kubelet_dir is not None:
            raise ConfigError(f"--kubelet-dir: no kubelet serves {socket}")
        return {}
    held: dict[str, tuple[str, ...]] = {}
    for each in _settled_holdings(socket).devices:
        uuid = each.device.partition("::")[0]
        held[uuid] = (*held.get(uuid, ()), f"pod {each.namespace}/{each.pod}")
    return held


def _settled_holdings(socket: Path) -> Holdings:
    from agent.serving.holders import settled_after_s  # noqa: PLC0415
    from deviceplugin.errors import PodResourcesUnreachable  # noqa: PLC0415
    from deviceplugin.holdings import list_holdings  # noqa: PLC0415

    try:
        # The socket is made anew by every kubelet that starts.
        age_s = time.time() - socket.stat().st_mtime
        holdings = asyncio.run(list_holdings(socket))
    except (PodResourcesUnreachable, OSError) as error:
        raise KubeletError(f"{error}; without it nobody knows what pods hold") from error
    rest_s = settled_after_s(holdings.pods) - age_s
    if rest_s > 0:
        raise KubeletError(
            f"the kubelet started {age_s:.0f} s ago and may not know all its pods yet; try again"
            f" in {rest_s:.0f} s"
        )
    return holdings
