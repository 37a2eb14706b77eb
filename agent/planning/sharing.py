"""Which devices are offered several times each, and under which names. Pure.

``sharing.timeSlicing``: an entry names a resource and, where it does not mean all of it, which of
its devices. NVIDIA's device plugin reads the names and selections and then drops them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.config.conversion import nearest
from agent.config.sharing import ReplicatedResource, SharedResources, Sharing, full_name
from agent.model.mig_instance import Device, MigInstance, parent_of
from agent.planning.strategy import Named, Verdict

SUFFIX = ".shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How one device is shared."""

    path: str
    """The entry of the configuration: ``sharing.timeSlicing.resources[0]``."""
    resource: str
    """What its Replicas are offered as."""
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Something in an entry that does not fit this node."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How the devices of a node are shared, and what does not fit of what was asked for."""

    by_device: Mapping[str, Share]
    """By UUID."""
    unfit: tuple[Unfit, ...] = ()


def share(named: Sequence[Named], sharing: Sharing) -> Shares:
    """Return how devices are shared, by what they are named without sharing.

    What does not fit is left out: the devices stay whole.
    """
    slicing = sharing.time_slicing
    if slicing is None:
        return Shares(by_device={})
    found: dict[str, Share] = {}
    unfit: list[Unfit] = []
    for i, entry in enumerate(slicing.resources):
        path = f"sharing.timeSlicing.resources[{i}]"
        chosen, problems = _select(entry, path, named)
        unfit += problems
        made = Share(path=path, resource=_shared_name(entry, slicing), replicas=entry.replicas)
        for each in chosen:
            before = found.setdefault(each.device.uuid, made)
            if before is not made:
                message = f"{_word(each.device)} is shared by {before.path} already"
                unfit.append(Unfit(path=f"{path}.devices", message=message))
    return Shares(by_device=found, unfit=tuple(unfit))


def with_replicas(verdicts: Iterable[Verdict], shares: Shares) -> Iterator[Verdict]:
    """Yield verdicts with the Replicas of what is shared in its place."""
    for verdict in verdicts:
        made = shares.by_device.get(verdict.device.uuid) if isinstance(verdict, Named) else None
        if made is None or not isinstance(verdict, Named):
            yield verdict
            continue
        for number in range(made.replicas):
            yield replace(verdict, resource=made.resource, replica=number)


def _shared_name(entry: ReplicatedResource, slicing: SharedResources) -> str:
    if entry.rename is not None:
        return full_name(entry.rename)
    return full_name(entry.name) + (SUFFIX if slicing.rename_by_default else "")


def _select(
    entry: ReplicatedResource, path: str, named: Sequence[Named]
) -> tuple[list[Named], list[Unfit]]:
    """Return the devices that an entry selects, and what of it fits none."""
    resource = full_name(entry.name)
    members = sorted((n for n in named if n.resource == resource), key=_by_index)
    if not members:
        return [], [Unfit(path=f"{path}.name", message=_nobody(resource, named))]
    match entry.devices:
        case "all":
            return members, []
        case int(count):
            if count > len(members):
                message = f"asks for {count} devices of {resource}, which has {len(members)}"
                return [], [Unfit(path=f"{path}.devices", message=message)]
            return members[:count], []
        case names:
            return _listed(names, f"{path}.devices", members, named)


def _listed(
    names: Iterable[int | str], path: str, members: Sequence[Named], named: Sequence[Named]
) -> tuple[list[Named], list[Unfit]]:
    chosen: list[Named] = []
    unfit: list[Unfit] = []
    for i, name in enumerate(names):
        found = [each for each in members if str(name) in _names(each.device)]
        if found:
            chosen += [each for each in found if each not in chosen]
        else:
            message = _not_there(str(name), members, named)
            unfit.append(Unfit(path=f"{path}[{i}]", message=message))
    return chosen, unfit


def _names(device: Device) -> tuple[str, ...]:
    """Return what a selection may call a device."""
    if isinstance(device, MigInstance):
        parent = device.parent
        legacy = f"MIG-{parent.uuid}/{device.gpu_instance}/{device.compute_instance}"
        return (device.uuid, f"{parent.index}:{device.index}", legacy)
    return (device.uuid, str(device.index))


def _not_there(name: str, members: Sequence[Named], named: Sequence[Named]) -> str:
    other = next((each for each in named if name in _names(each.device)), None)
    if other is not None:
        return f"{_word(other.device)} is {other.resource}, not {members[0].resource}"
    there = [word for each in members for word in _names(each.device)]
    alike = None if name.isdecimal() else nearest(name, there)
    hint = f"did you mean {alike}?" if alike else f"there are {', '.join(map(_number, members))}"
    return f"there is no device {name}; {hint}"


def _nobody(resource: str, named: Sequence[Named]) -> str:
    there = list(dict.fromkeys(each.resource for each in named))
    alike = nearest(resource, there)
    hint = f"did you mean {alike}?" if alike else f"there are {', '.join(there) or 'none'}"
    return f"no device of this node is {resource}; {hint}"


def _number(named: Named) -> str:
    return _names(named.device)[1]


def _by_index(named: Named) -> tuple[int, int, str]:
    device = named.device
    within = device.index if isinstance(device, MigInstance) else -1
    return parent_of(device).index, within, device.uuid


def _word(device: Device) -> str:
    return device.name if isinstance(device, MigInstance) else f"GPU {device.index}"
