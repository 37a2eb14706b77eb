"""A decision about one container's devices, and how good it was. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from agent.planning.answer import Answer, answer_of
from agent.planning.nics import Allotment
from agent.planning.placement import Placement, Request
from agent.planning.preference import policy, rails_taken, rails_wanted, share_policy
from agent.planning.snapshot import Snapshot


class Quality(StrEnum):
    """How what was given compares with what was free on the node."""

    BEST = "best"  # no better set was free
    OFFER = "offer"  # the best of what the kubelet offered; it left better GPUs out
    KUBELET = "kubelet"  # the kubelet chose, by itself or against the preference
    DIVIDED = "divided"  # shares of GPUs, which have keys of their own


class Question(Struct, frozen=True, kw_only=True):
    """What the kubelet asked for one container, and what it was answered."""

    snapshot: Snapshot
    resource: str
    size: int
    at_s: float
    """When, on the event loop's clock."""
    offered: tuple[str, ...]
    """The devices that it left to choose from; empty when it did not ask."""
    free: tuple[str, ...]
    """UUIDs of the GPUs that were free on the node."""
    preferred: Placement | None
    """None when it did not ask."""
    must: tuple[str, ...] = ()
    """Devices that had to be among them."""
    nics_taken: tuple[str, ...] = ()
    """NICs that other containers had."""


class Weighed(Struct, frozen=True, kw_only=True):
    """What was given, and the best that was free on the node if that is something else."""

    given: Placement
    better: Placement | None
    quality: Quality


def weigh(question: Question, devices: Sequence[str]) -> Weighed:
    """Compare what was given with all that was free: what the question found, and the devices."""
    preferred = question.preferred
    followed = preferred is not None and set(preferred.devices) == set(devices)
    if question.snapshot.catalog.is_divided(question.resource):
        given = preferred if followed and preferred else _shares(question, devices)
        return Weighed(given=given, better=None, quality=Quality.DIVIDED)
    given = preferred if followed and preferred else _best(question, devices)
    free = question.snapshot.catalog.parents(question.resource).keys() & set(question.free)
    had_its_choice = followed and not question.must and free <= set(question.offered)
    if had_its_choice:
        return Weighed(given=given, better=None, quality=Quality.BEST)
    every = {*devices, *free}
    best = _best(question, every, size=len(devices))
    # By the same NICs: what counts depends on what there is to choose from.
    if not beats(best, _best(question, devices, among=every)):
        return Weighed(given=given, better=None, quality=Quality.BEST)
    quality = Quality.OFFER if followed else Quality.KUBELET
    return Weighed(given=given, better=best, quality=quality)


def beats(one: Placement, other: Placement) -> bool:
    """Return whether one set of a size is better than another, not only before it in order."""
    ranks = [list(placement.explanation.key.values())[:-1] for placement in (one, other)]
    return ranks[0] > ranks[1]


def document(
    question: Question, weighed: Weighed | None, allotment: Allotment | None = None
) -> dict[str, Any]:
    """Return all that is recorded of a decision (docs/placement.md).

    ``weighed`` is None before the kubelet has allocated, ``allotment`` where no NICs are given.
    """
    snapshot, preferred = question.snapshot, question.preferred
    known = (*snapshot.inventory.gpus, *snapshot.departed)
    index = {gpu.uuid: gpu.index for gpu in known}

    def said(placement: Placement | None) -> Answer | None:
        return None if placement is None else answer_of(placement, index)

    given = preferred if weighed is None else weighed.given
    return {
        "generation": snapshot.generation,
        "size": question.size,
        "offered": len(question.offered),
        "must": list(question.must),
        "free": sorted(index[uuid] for uuid in question.free if uuid in index),
        "policy": _policy_name(question),
        "quality": None if weighed is None else weighed.quality,
        "answer": said(given),
        "instances": _instances(snapshot, given),
        "preferred": None if given is preferred else said(preferred),
        "better": None if weighed is None else said(weighed.better),
        "nics": None if allotment is None else _rails(allotment, index),
    }


def _instances(snapshot: Snapshot, given: Placement | None) -> list[dict[str, Any]]:
    found = (snapshot.instances.get(device) for device in (given.devices if given else ()))
    return [
        {
            "uuid": each.uuid,
            "gpu": each.parent.index,
            "profile": str(each.profile),
            "gpu_instance": each.gpu_instance,
            "compute_instance": each.compute_instance,
            "start": each.placement.start,
            "size": each.placement.size,
        }
        for each in found
        if each is not None
    ]


def _rails(allotment: Allotment, index: Mapping[str, int]) -> dict[str, Any]:
    return {
        "given": [
            {
                "nic": rail.nic,
                "gpu": index[rail.gpu],
                "distance": rail.distance,
                "shared_with": rail.shared_with,
            }
            for rail in allotment.rails
        ],
        "missing": [{"gpu": index[each.gpu], "reason": each.reason} for each in allotment.missing],
    }


def _policy_name(question: Question) -> str:
    if question.snapshot.catalog.is_divided(question.resource):
        return share_policy(question.snapshot, question.resource).name.lower()
    return question.snapshot.config.plumbline.placement.policy_of(question.resource).value


def _best(
    question: Question,
    of: Iterable[str],
    *,
    size: int | None = None,
    among: Iterable[str] | None = None,
) -> Placement:
    """Return the best of some devices; by default all of them, to know their key.

    ``among`` are the devices whose NICs are looked at; by default the same.
    """
    available = tuple(of)
    snapshot = question.snapshot
    return snapshot.placement.choose(
        Request(
            available=available,
            size=len(available) if size is None else size,
            free=question.free,
            policy=policy(snapshot.config, question.resource),
            rails=rails_wanted(snapshot.config, len(available) if size is None else size),
            rails_taken=rails_taken(snapshot, among or available, question.nics_taken),
        )
    )


def _shares(question: Question, devices: Sequence[str]) -> Placement:
    """Return what can be said of shares that the kubelet chose: what their GPUs are together."""
    parents = question.snapshot.catalog.parents(question.resource)
    gpus = tuple(dict.fromkeys(parents.get(device, device) for device in devices))
    whole = question.snapshot.placement.choose(
        Request(available=gpus, size=len(gpus), free=question.free)
    )
    return Placement(tuple(devices), lambda: whole.explanation, gpus=gpus)
