"""What contradicts itself within ``sharing``."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config.gpu_names import GpuNames
from agent.config.sharing import (
    LONGEST_NAME,
    MPS_MOST_CLIENTS,
    MpsResource,
    SharedResource,
    SharedResources,
    Sharing,
    full_name,
)


def within_sharing(sharing: Sharing) -> Iterator[tuple[str, str]]:
    """Yield path and message of what contradicts itself."""
    sections = {"timeSlicing": sharing.time_slicing, "mps": sharing.mps}
    for name, shared in sections.items():
        if shared is None:
            continue
        for i, each in enumerate(shared.resources):
            path = f"sharing.{name}.resources[{i}]"
            for part, message in _within_entry(each, i, shared):
                yield f"{path}.{part}", message


def _within_entry(
    entry: SharedResource, i: int, shared: SharedResources
) -> Iterator[tuple[str, str]]:
    yield from _twice(entry, shared.resources[:i])
    yield from _too_long(entry, shared)
    if shared.fail_requests_greater_than_one and (entry.max_shared_per_pod or 1) > 1:
        yield (
            "maxSharedPerPod",
            (
                "is more than 1, and failRequestsGreaterThanOne allows no more; leave one of the"
                " two out"
            ),
        )
    if isinstance(entry, MpsResource):
        yield from _beyond_mps(entry)


def _twice(entry: SharedResource, earlier: tuple[SharedResource, ...]) -> Iterator[tuple[str, str]]:
    """Yield what cannot but claim the devices of an earlier entry."""
    name = full_name(entry.name)
    rivals = [each for each in earlier if full_name(each.name) == name]
    if rivals and (_takes_all(entry) or any(map(_takes_all, rivals))):
        yield (
            "name",
            (
                f"{name!r} stands twice, once for all of its devices; join the two entries, or list"
                " the devices of both"
            ),
        )


def _takes_all(entry: SharedResource) -> bool:
    return entry.devices == "all" or entry.devices == GpuNames()


def _too_long(entry: SharedResource, shared: SharedResources) -> Iterator[tuple[str, str]]:
    name = full_name(entry.name) + ".shared"
    if shared.rename_by_default and entry.rename is None and len(name) > LONGEST_NAME:
        yield (
            "name",
            (
                f"{name!r} has {len(name)} characters; a resource name has at most {LONGEST_NAME};"
                " give it a rename"
            ),
        )


def _beyond_mps(entry: MpsResource) -> Iterator[tuple[str, str]]:
    if entry.replicas > MPS_MOST_CLIENTS:
        yield (
            "replicas",
            f"{entry.replicas} is more than MPS serves; at most {MPS_MOST_CLIENTS}",
        )
    if entry.weights is not None and len(entry.weights) != entry.replicas:
        yield (
            "weights",
            (
                f"has {len(entry.weights)} entries, and there are {entry.replicas} replicas;"
                " write one weight for each"
            ),
        )
