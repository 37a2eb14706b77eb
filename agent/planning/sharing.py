"""Which devices are offered several times each, and under which names. Pure.

An entry of ``sharing`` names a resource and, where it does not mean all of it, which of its
devices. NVIDIA's device plugin reads the names and selections and then drops them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from agent.config.conversion import nearest
from agent.config.gpu_names import GpuNames
from agent.config.sharing import (
    MpsResource,
    SharedResource,
    SharedResources,
    Sharing,
    TimeSlicedResource,
    full_name,
)
from agent.model.mig_instance import Device, MigInstance, parent_of
from agent.planning import mps
from agent.planning.gpu_selection import named_gpu, select, unknown_names
from agent.planning.shared_device import SharedDevice
from agent.planning.strategy import Named, Verdict

SUFFIX = ".shared"


class Unfit(Struct, frozen=True, kw_only=True):
    """Something in an entry that does not fit this node."""

    path: str
    message: str


class SharedDevices(Struct, frozen=True, kw_only=True):
    """How the devices of a node are shared, and what does not fit of what was asked for."""

    by_device: Mapping[str, SharedDevice]
    """By UUID."""
    unfit: tuple[Unfit, ...] = ()


def share(
    named: Sequence[Named], sharing: Sharing, cuda_version: str | None = None
) -> SharedDevices:
    """Return how devices are shared, by what they are named without sharing.

    What does not fit is left out: the devices stay whole. ``cuda_version`` is the newest that
    the driver supports.
    """
    if sharing.section is None:
        return SharedDevices(by_device={})
    where, section = sharing.section
    found: dict[str, SharedDevice] = {}
    unfit: list[Unfit] = []
    for i, entry in enumerate(section.resources):
        path = f"{where}.resources[{i}]"
        chosen, problems = _select(entry, path, named)
        made = _share(entry, section, path)
        able, obstacles = _able(entry, path, chosen, cuda_version)
        unfit += [*problems, *obstacles]
        for each in able:
            before = found.setdefault(each.device.uuid, made)
            if before is not made:
                message = f"{_word(each.device)} is shared by {before.path} already"
                unfit.append(Unfit(path=f"{path}.devices", message=message))
    unfit += _half_by_mps(named, found)
    return SharedDevices(by_device=found, unfit=tuple(unfit))


def refusal(shares: SharedDevices, resource: str, devices: Sequence[str]) -> str | None:
    """Return why no container may have these devices of a resource together; None where it may.

    ``devices`` are ids as the kubelet knows them.
    """
    behind = [each.partition("::")[0] for each in devices]
    found = [shares.by_device[each] for each in behind if each in shares.by_device]
    most = min((each.most for each in found if each.most is not None), default=None)
    if most is not None and len(devices) > most:
        return (
            f"a container asks for {len(devices)} of {resource}, whose devices are shared: more"
            f" than {most} would not give it more; ask for {most}, or see"
            f" failRequestsGreaterThanOne and maxSharedPerPod at {found[0].path}"
        )
    twice = next((each for each in behind if behind.count(each) > 1), None)
    if twice is not None and any(each.distinct for each in found):
        return (
            f"a container asks for {len(devices)} of {resource} from different GPUs"
            f" ({found[0].path}.distinctGpus), and {twice} is all that is left"
        )
    return None


def with_replicas(verdicts: Iterable[Verdict], shares: SharedDevices) -> Iterator[Verdict]:
    """Yield verdicts with the Replicas of what is shared in its place."""
    for verdict in verdicts:
        made = shares.by_device.get(verdict.device.uuid) if isinstance(verdict, Named) else None
        if made is None or not isinstance(verdict, Named):
            yield verdict
            continue
        for number in range(made.replicas):
            yield replace(verdict, resource=made.resource, replica=number)


def _share(entry: SharedResource, section: SharedResources, path: str) -> SharedDevice:
    equal = (1,) * entry.replicas
    return SharedDevice(
        path=path,
        resource=_shared_name(entry, section),
        replicas=entry.replicas,
        most=_most(entry, section),
        distinct=entry.distinct_gpus,
        time_slice=entry.time_slice if isinstance(entry, TimeSlicedResource) else None,
        weights=entry.weights or equal if isinstance(entry, MpsResource) else None,
    )


def _half_by_mps(named: Sequence[Named], found: Mapping[str, SharedDevice]) -> Iterator[Unfit]:
    """Yield entries that leave a resource half through MPS, half not: no container uses both."""
    plain = {each.resource for each in named if each.device.uuid not in found}
    plain |= {each.resource for each in found.values() if not each.by_mps}
    halves = {each.path: each.resource for each in found.values() if each.by_mps}
    for path, resource in halves.items():
        if resource in plain:
            said = f"{resource} would be GPUs through MPS and whole ones under one name"
            yield Unfit(path=f"{path}.rename", message=f"{said}; give the shared ones another")


def _shared_name(entry: SharedResource, section: SharedResources) -> str:
    if entry.rename is not None:
        return full_name(entry.rename)
    return full_name(entry.name) + (SUFFIX if section.rename_by_default else "")


def _most(entry: SharedResource, section: SharedResources) -> int | None:
    """Return how many Replicas a container may ask for: under MPS one, unless something is said."""
    one_by_default = isinstance(entry, MpsResource) and entry.max_shared_per_pod is None
    said = section.fail_requests_greater_than_one
    return 1 if (one_by_default if said is None else said) else entry.max_shared_per_pod


def _able(
    entry: SharedResource, path: str, chosen: Iterable[Named], cuda_version: str | None
) -> tuple[list[Named], list[Unfit]]:
    """Return the devices that can be shared as an entry says, and why the others cannot."""
    able: list[Named] = []
    unfit: list[Unfit] = []
    if isinstance(entry, MpsResource) and entry.replicas > (most := mps.clients(cuda_version)):
        message = f"{entry.replicas} is more than MPS serves here; at most {most}"
        return [], [Unfit(path=f"{path}.replicas", message=message)]
    for each in chosen:
        found = _obstacle(entry, each.device)
        if found is None:
            able.append(each)
        else:
            unfit.append(Unfit(path=f"{path}.{found[0]}", message=found[1]))
    return able, unfit


def _obstacle(entry: SharedResource, device: Device) -> tuple[str, str] | None:
    """Return the key and what is said of it where a device cannot be shared as an entry says."""
    if isinstance(entry, MpsResource):
        reason = mps.obstacle(device)
        return None if reason is None else ("devices", reason)
    sliced = isinstance(entry, TimeSlicedResource) and entry.time_slice is not None
    if sliced and isinstance(device, MigInstance):
        said = f"{_word(device)} is a MIG instance, and the driver sets it for whole GPUs only"
        return "timeSlice", f"{said}; leave it out"
    return None


def _select(
    entry: SharedResource, path: str, named: Sequence[Named]
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
        case GpuNames() as names:
            return _of_gpus(names, f"{path}.devices", members)
        case names:
            return _listed(names, f"{path}.devices", members, named)


def _of_gpus(
    names: GpuNames, path: str, members: Sequence[Named]
) -> tuple[list[Named], list[Unfit]]:
    """Return the members on the GPUs that a selector means."""
    by_uuid = {gpu.uuid: gpu for gpu in (parent_of(each.device) for each in members)}
    gpus = [named_gpu(gpu) for gpu in by_uuid.values()]
    problems = [Unfit(path=path, message=message) for message in unknown_names(names, gpus)]
    wanted = {gpu.uuid for gpu in select(names, gpus)}
    if not wanted and not problems:
        there = ", ".join(f"{gpu.index} ({gpu.model})" for gpu in gpus)
        said = f"fits no GPU of {members[0].resource}; there are {there}"
        problems = [Unfit(path=path, message=said)]
    return [each for each in members if parent_of(each.device).uuid in wanted], problems


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
