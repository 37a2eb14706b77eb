"""GPUs that several claims have at once, each a share (KEP-5075, consumable capacity). Pure."""

from __future__ import annotations

from msgspec.structs import replace

from agent.config.own import Shares
from agent.planning.dra_devices import DraDevice, RequestPolicy

MEBIBYTE = 2**20
SHARES = "shares"


def with_shares(device: DraDevice, shares: Shares) -> DraDevice:
    """Return a GPU as several claims can have it.

    ``memory``: each takes as much memory as it says, the whole GPU where it says nothing.
    A number: so many claims at most, each with its part of the memory unless it says otherwise.
    ``unlimited``: as many as like, and memory is not counted unless a claim does.
    """
    if shares == "disabled":
        return device
    memory = device.capacity["memory"]
    step = MEBIBYTE
    most = memory // step * step
    if shares == "memory":
        policy = RequestPolicy(default=most, least=step, most=most, step=step)
        return _shared(device, most, policy)
    if shares == "unlimited":
        return _shared(device, most, RequestPolicy(default=0, least=0, most=most, step=step))
    part = most // shares // step * step
    split = _shared(device, most, RequestPolicy(default=part, least=step, most=most, step=step))
    return replace(
        split,
        capacity={**split.capacity, SHARES: shares},
        policies={**split.policies, SHARES: RequestPolicy(default=1, least=1, most=shares, step=1)},
    )


def _shared(device: DraDevice, memory: int, policy: RequestPolicy) -> DraDevice:
    return replace(
        device,
        shared=True,
        capacity={**device.capacity, "memory": memory},
        policies={"memory": policy},
    )
