"""Which GPUs of a node an entry of a layout selects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase

from agent.config.conversion import nearest
from agent.config.mig import GpuSelector
from agent.planning.layout_model import DivisibleGpu


def names_gpus(selector: GpuSelector) -> bool:
    """Return True when GPUs are named one by one, rather than by their kind."""
    return any(values is not None for _, values, _ in _by_name(selector))


def is_for_this_node(selector: GpuSelector, gpus: Sequence[DivisibleGpu]) -> bool:
    """Return True when some GPU is of the kind an entry is for: one file serves many nodes."""
    return any(_is_of_kind(selector, gpu) for gpu in gpus)


def select(selector: GpuSelector, gpus: Sequence[DivisibleGpu]) -> tuple[DivisibleGpu, ...]:
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


def unknown_names(selector: GpuSelector, gpus: Sequence[DivisibleGpu]) -> Iterator[str]:
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
    selector: GpuSelector,
) -> list[tuple[str, Sequence[int | str] | None, Callable[[DivisibleGpu], int | str | None]]]:
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


def _is_of_kind(selector: GpuSelector, gpu: DivisibleGpu) -> bool:
    models, filters = selector.model, selector.device_filter
    return (models is None or any(fnmatchcase(gpu.model, _pattern(m)) for m in models)) and (
        filters is None or any(_passes(gpu, each) for each in filters)
    )


def _pattern(model: str) -> str:
    """Return a pattern in which only * is special."""
    return model.replace("[", "[[]").replace("?", "[?]")


def _passes(gpu: DivisibleGpu, device_filter: str) -> bool:
    device, _, subsystem = device_filter.partition(":")
    return gpu.device_id == int(device, 16) and (
        not subsystem or gpu.subsystem_id == int(subsystem, 16)
    )
