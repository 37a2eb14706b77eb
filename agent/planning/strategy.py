"""How GPUs in MIG mode are offered: which device stands under which resource name. Pure.

``flags.migStrategy``, with NVIDIA's names. Where NVIDIA's device plugin ends because of one GPU
that does not fit, that GPU alone is left out here, with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from agent.config.schema import MigStrategy
from agent.config.sharing import PREFIX, Resource, Resources, full_name
from agent.model.inventory import Gpu
from agent.model.mig_instance import Device, MigInstance, mig_instances

GPU_RESOURCE = "nvidia.com/gpu"

# The display GPU of a DGX Station: no tensor cores, never offered by any component.
DISPLAY_GPUS = frozenset({"DGX Display", "NVIDIA DGX Display"})

_Kind = tuple[str, int | None]
"""What MigInstances that one resource can offer have in common: profile and multiprocessors."""


class Named(Struct, frozen=True, kw_only=True):
    """A device that is offered, and the resource that it is one of."""

    device: Device
    resource: str
    replica: int | None = None
    """Number of a Replica; None: the device as such."""

    @property
    def id(self) -> str:
        """Return what the kubelet knows it by."""
        return self.device.uuid if self.replica is None else f"{self.device.uuid}::{self.replica}"


class Former(Struct, frozen=True, kw_only=True):
    """A device that is not offered, but would be part of a resource if it were.

    The kubelet is told of it as long as a container holds it.
    """

    device: Device
    resource: str
    reason: str


class LeftOut(Struct, frozen=True, kw_only=True):
    """A GPU of which nothing is offered, and why."""

    gpu: Gpu
    reason: str


Verdict = Named | Former | LeftOut


def judge(gpus: Iterable[Gpu], strategy: MigStrategy, names: Resources) -> list[Verdict]:
    """Return what becomes of GPUs and their MigInstances; ``names`` are ``resources``."""
    known = [gpu for gpu in gpus if gpu.name not in DISPLAY_GPUS]
    if strategy is MigStrategy.SINGLE:
        return list(_single(known, names))
    mixed = strategy is MigStrategy.MIXED
    return [
        verdict
        for gpu in known
        for verdict in (_mixed(gpu, names) if mixed and in_mig_mode(gpu) else _whole(gpu, names))
    ]


def resource_name(product: str, names: Resources) -> str | None:
    """Return what GPUs of a product are offered as: the first pattern that fits decides."""
    return _first_that_fits(product, names.gpus) if names.gpus else GPU_RESOURCE


def mig_resource_name(instance: MigInstance, names: Resources) -> str | None:
    """Return what a MigInstance is offered as under ``mixed``: by the pattern for its profile."""
    if names.mig:
        return _first_that_fits(str(instance.profile), names.mig)
    return f"{PREFIX}mig-{instance.profile.label}"


def instance_resource(instance: MigInstance, strategy: MigStrategy, names: Resources) -> str | None:
    """Return what a MigInstance is offered as; None where it has no name."""
    match strategy:
        case MigStrategy.MIXED:
            return mig_resource_name(instance, names)
        case MigStrategy.SINGLE:
            return resource_name(instance.parent.name, names)
        case MigStrategy.NONE:
            return None


def in_mig_mode(gpu: Gpu) -> bool:
    """Return True for a GPU that is, or can be, divided at this moment."""
    return gpu.mig is not None and gpu.mig.current


def _first_that_fits(name: str, patterns: Sequence[Resource]) -> str | None:
    return next((full_name(each.name) for each in patterns if _fits(each.pattern, name)), None)


def _fits(pattern: str, product: str) -> bool:
    literal = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(literal), product) is not None


def _whole(gpu: Gpu, names: Resources) -> Iterator[Verdict]:
    resource = resource_name(gpu.name, names)
    if resource is None:
        yield LeftOut(gpu=gpu, reason=f"no pattern of resources.gpus fits {gpu.name}")
    else:
        yield Named(device=gpu, resource=resource)


def _mixed(gpu: Gpu, names: Resources) -> Iterator[Verdict]:
    instances = mig_instances(gpu)
    nameless = dict.fromkeys(
        str(each.profile) for each in instances if mig_resource_name(each, names) is None
    )
    for each in instances:
        resource = mig_resource_name(each, names)
        if resource is not None:
            yield Named(device=each, resource=resource)
    if nameless:
        listed = ", ".join(nameless)
        yield LeftOut(gpu=gpu, reason=f"no pattern of resources.mig fits its {listed}")
    if not instances:
        yield LeftOut(gpu=gpu, reason=_emptiness(gpu))
    yield from _formerly_whole(gpu, names)


def _formerly_whole(gpu: Gpu, names: Resources) -> Iterator[Verdict]:
    resource = resource_name(gpu.name, names)
    if resource is not None:
        yield Former(device=gpu, resource=resource, reason="it is in MIG mode now")


def _emptiness(gpu: Gpu) -> str:
    if gpu.partition is None:
        return "it is in MIG mode, and the driver does not show its instances"
    if gpu.partition.instances:
        return "it is in MIG mode and has no compute instance (plumbline mig status)"
    return "it is in MIG mode and has no instances (plumbline mig status)"


def _single(gpus: Sequence[Gpu], names: Resources) -> Iterator[Verdict]:
    by_resource: dict[str, list[Gpu]] = {}
    for gpu in gpus:
        resource = resource_name(gpu.name, names)
        if resource is None:
            yield from _whole(gpu, names)
        else:
            by_resource.setdefault(resource, []).append(gpu)
    for resource, members in by_resource.items():
        yield from _alike(resource, members, names)


def _alike(resource: str, gpus: Sequence[Gpu], names: Resources) -> Iterator[Verdict]:
    """Yield what becomes of the GPUs of one resource, which offers devices of one kind only."""
    parts = {gpu.uuid: mig_instances(gpu) for gpu in gpus if in_mig_mode(gpu)}
    kind = _prevailing(parts.values())
    for gpu in gpus:
        instances = parts.get(gpu.uuid)
        reason = _misfit(gpu, instances, kind, resource)
        devices: tuple[Device, ...] = (gpu,) if instances is None else instances
        if reason is None:
            yield from (Named(device=each, resource=resource) for each in devices)
        else:
            yield LeftOut(gpu=gpu, reason=reason)
            yield from (Former(device=d, resource=resource, reason=reason) for d in devices)
        if instances is not None:
            yield from _formerly_whole(gpu, names)


def _prevailing(parts: Iterable[Sequence[MigInstance]]) -> _Kind | None:
    """Return the kind that most GPUs are divided into; of equals that of the first GPU."""
    uniform = [kinds.pop() for each in parts if len(kinds := {_kind(one) for one in each}) == 1]
    return Counter(uniform).most_common(1)[0][0] if uniform else None


def _misfit(
    gpu: Gpu, instances: Sequence[MigInstance] | None, kind: _Kind | None, resource: str
) -> str | None:
    """Return why a GPU cannot be offered beside the others; None where it can."""
    if instances is None:
        if kind is None:
            return None
        return f"it is not in MIG mode, and {resource} is {_word(kind)} here (migStrategy single)"
    if not instances:
        return _emptiness(gpu)
    kinds = sorted({_kind(each) for each in instances}, key=str)
    if len(kinds) > 1:
        listed = ", ".join(_word(each) for each in kinds)
        return f"it is divided into {listed}: migStrategy single offers one profile; use mixed"
    if kinds[0] != kind and kind is not None:
        return f"it is {_word(kinds[0])}, and {resource} is {_word(kind)} here (migStrategy single)"
    return None


def _kind(instance: MigInstance) -> _Kind:
    return str(instance.profile), instance.multiprocessors


def _word(kind: _Kind) -> str:
    return f"{kind[0]} of {kind[1]} multiprocessors" if kind[1] else kind[0]
