"""Which GPUs of a node an entry of a configuration selects. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from msgspec import Struct

from agent.config.conversion import nearest
from agent.config.gpu_names import GpuNames, GpuSelector
from agent.model.inventory import Gpu, PciAddress


class NamedGpu(Struct, frozen=True, kw_only=True):
    """What a GPU may be called by."""

    index: int
    uuid: str
    address: PciAddress
    module_id: int | None
    model: str
    """Product name."""
    device_id: int | None
    """PCI device id above the vendor's: 0x233010DE; None where nothing is selected by it."""
    subsystem_id: int | None


AnyGpu = TypeVar("AnyGpu", bound=NamedGpu)


def named_gpu(gpu: Gpu) -> NamedGpu:
    """Return a GPU as it may be called where nothing is selected by PCI ids."""
    return NamedGpu(
        index=gpu.index,
        uuid=gpu.uuid,
        address=gpu.address,
        module_id=gpu.module_id,
        model=gpu.name,
        device_id=None,
        subsystem_id=None,
    )


def names_gpus(selector: GpuNames) -> bool:
    """Return True when GPUs are named one by one, rather than by their kind."""
    return any(values is not None for _, values, _ in _by_name(selector))


def is_for_this_node(selector: GpuNames, gpus: Sequence[NamedGpu]) -> bool:
    """Return True when some GPU is of the kind an entry is for: one file serves many nodes."""
    return any(_is_of_kind(selector, gpu) for gpu in gpus)


def select(selector: GpuNames, gpus: Sequence[AnyGpu]) -> tuple[AnyGpu, ...]:
    """Return the GPUs that fit every key of a selector."""
    return tuple(
        gpu
        for gpu in gpus
        if _is_of_kind(selector, gpu)
        and all(
            values is None or told(gpu) in {_folded(value) for value in values}
            for _, values, told in _by_name(selector)
        )
    )


def unknown_names(selector: GpuNames, gpus: Sequence[NamedGpu]) -> Iterator[str]:
    """Yield what is said of each GPU that is named and not there."""
    for word, values, told in _by_name(selector):
        there = [str(told(gpu)) for gpu in gpus if told(gpu) is not None]
        for value in values or ():
            if _folded(value) not in {told(gpu) for gpu in gpus}:
                yield f"no GPU has the {word} {value}; {_instead(word, str(value), there)}"


def _instead(word: str, value: str, there: list[str]) -> str:
    if not there:
        return f"the driver tells no {word} here"
    alike = None if value.isdecimal() else nearest(value, there)
    return f"there are {', '.join(there)}" if alike is None else f"did you mean {alike}?"


def _by_name(
    selector: GpuNames,
) -> list[tuple[str, Sequence[int | str] | None, Callable[[NamedGpu], int | str | None]]]:
    """Return the keys that name GPUs one by one: word, values, and what a GPU has there."""
    return [
        ("index", selector.index, lambda gpu: gpu.index),
        ("UUID", selector.uuid, lambda gpu: gpu.uuid),
        ("PCI address", selector.pci_address, lambda gpu: _folded(gpu.address)),
        ("module id", selector.module_id, lambda gpu: gpu.module_id),
    ]


def _folded(value: int | str) -> int | str:
    """Return a value in the one spelling it is compared in: a PCI domain has four digits."""
    if isinstance(value, int) or value.startswith("GPU-"):
        return value
    domain, _, rest = value.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _is_of_kind(selector: GpuNames, gpu: NamedGpu) -> bool:
    models = selector.model
    filters = selector.device_filter if isinstance(selector, GpuSelector) else None
    return (models is None or any(fnmatchcase(gpu.model, _pattern(m)) for m in models)) and (
        filters is None or any(_passes(gpu, each) for each in filters)
    )


def _pattern(model: str) -> str:
    """Return a pattern in which only * is special."""
    return model.replace("[", "[[]").replace("?", "[?]")


def _passes(gpu: NamedGpu, device_filter: str) -> bool:
    device, _, subsystem = device_filter.partition(":")
    return gpu.device_id == int(device, 16) and (
        not subsystem or gpu.subsystem_id == int(subsystem, 16)
    )
