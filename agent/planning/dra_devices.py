"""What the node offers through DRA: devices with the attributes that claims select by. Pure.

Names, attributes and capacities are those of NVIDIA's driver (resource.k8s.io/v1, driver
gpu.nvidia.com), so that claims written for it fit; ours are added. A device is named by its UUID:
minor numbers and indices are given anew when a GPU is replaced or lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

from agent.model.inventory import Gpu, Inventory
from agent.model.mig import MigPlacement
from agent.planning.sockets import sockets_of

DRIVER = "gpu.nvidia.com"
_VALUE_BYTES = 64
_STANDARD = "resource.kubernetes.io/"
PCI_BUS_ID = _STANDARD + "pciBusID"
_VERSION_PARTS = 3

Value = str | int | bool


class Version(Struct, frozen=True):
    """A semantic version, as attributes of that type want it."""

    text: str


class WholeGpus(Struct, frozen=True, kw_only=True):
    """What a device stands for: a GPU, or the GPUs of a cell, by UUID."""

    gpus: tuple[str, ...]


class ExistingInstance(Struct, frozen=True, kw_only=True):
    """What a device stands for: a MigInstance that is there whoever claims it."""

    gpu: str
    uuid: str


class NewInstance(Struct, frozen=True, kw_only=True):
    """What a device stands for: a MigInstance that is there as long as it is claimed."""

    gpu: str
    profile: int
    """GpuInstanceProfile.id; one compute instance takes all of it."""
    placement: MigPlacement


class NicFunction(Struct, frozen=True, kw_only=True):
    """What a device stands for: a function of a NIC, by PCI address."""

    address: str


Subject = WholeGpus | ExistingInstance | NewInstance | NicFunction


class RequestPolicy(Struct, frozen=True, kw_only=True):
    """How much of a capacity one claim takes of a device that several can have (KEP-5075)."""

    default: int
    """What a claim gets that does not say."""
    least: int
    most: int | None = None
    step: int | None = None


class DraDevice(Struct, frozen=True, kw_only=True):
    """One device of the node's pool."""

    name: str
    """A DNS label, the same as long as the device exists."""
    subject: Subject
    attributes: Mapping[str, Value | Version]
    capacity: Mapping[str, int]
    """In units: bytes for memory."""
    shared: bool = False
    """True when several claims can have it at once, each a share of its capacity."""
    policies: Mapping[str, RequestPolicy] = field(default_factory=dict)
    """By capacity, of a shared device only."""
    consumes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What is left for no other device while it is allocated: counters by CounterSet."""
    taints: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with it: values by key."""


class CounterSet(Struct, frozen=True, kw_only=True):
    """What devices of a pool have in common (KEP-4815): how much there is, by counter."""

    name: str
    counters: Mapping[str, int]


class Offering(Struct, frozen=True, kw_only=True):
    """Everything in a pool."""

    devices: tuple[DraDevice, ...]
    """In the order in which they are listed."""
    counter_sets: tuple[CounterSet, ...] = ()
    allocated: frozenset[str] = frozenset()
    """Names of devices that claims have: they stay."""


def gpu_device(
    gpu: Gpu, inventory: Inventory, *, nvlink_group: int | None = None, rail: int | None = None
) -> DraDevice:
    """Return a whole GPU as DRA offers it.

    ``nvlink_group`` is a number that GPUs share which NVLink joins all alike, ``rail`` one that
    GPUs and NICs share which are beside each other.
    """
    fabric = gpu.fabric
    # A fabric that ends at the node's own switches has no cluster: NVML tells zeros.
    joined = fabric is not None and fabric.state == "completed" and fabric.cluster_uuid.strip("0-")
    own: dict[str, Value | Version | None] = {
        "type": "gpu",
        "uuid": gpu.uuid,
        "nvlinkGroup": nvlink_group,
        "rail": rail,
        "nvlinkClique": f"{fabric.cluster_uuid}.{fabric.clique_id}" if fabric and joined else None,
    }
    return DraDevice(
        name=device_name(gpu.uuid),
        subject=WholeGpus(gpus=(gpu.uuid,)),
        attributes=attributes(own | board_facts(gpu, inventory)),
        capacity={"memory": gpu.memory_bytes},
    )


def board_facts(gpu: Gpu, inventory: Inventory) -> dict[str, Value | Version | None]:
    """Return what a GPU and its parts have in common: what it is, and where."""
    position = gpu.position
    return {
        "productName": gpu.name,
        "brand": gpu.brand,
        "architecture": gpu.architecture,
        "cudaComputeCapability": _version(gpu.compute_capability),
        "driverVersion": _version(inventory.driver_version),
        "cudaDriverVersion": _version(inventory.cuda_version),
        "gpuIndex": gpu.index,
        "moduleID": gpu.module_id,
        "socket": _socket(gpu, inventory),
        "pcieSwitch": position.switch if position else None,
        PCI_BUS_ID: gpu.address,
        _STANDARD + "pcieRoot": position.root if position else None,
        _STANDARD + "numaNode": gpu.numa_node,
        "numaNode": gpu.numa_node,
    }


def attributes(facts: Mapping[str, Value | Version | None]) -> dict[str, Value | Version]:
    """Return facts as attributes: what is not known, or not allowed, is left out."""
    return {name: value for name, value in facts.items() if value is not None and _fits(value)}


def device_name(uuid: str) -> str:
    """Return what a device is called in its pool: ``gpu-1a2b...`` for the UUID GPU-1A2B..."""
    return re.sub(r"[^a-z0-9-]", "-", uuid.lower())


def _fits(value: Value | Version) -> bool:
    """Return False for text that would have the whole slice refused."""
    text = value.text if isinstance(value, Version) else value
    return not isinstance(text, str) or 0 < len(text.encode()) <= _VALUE_BYTES


def _version(text: str | None) -> Version | None:
    """Return a version as the API wants it: three numbers without leading zeros; None for others.

    9.0 becomes 9.0.0, and 580.65.06 becomes 580.65.6.
    """
    parts = (text or "").split(".")
    if not all(part.isdecimal() for part in parts) or len(parts) > _VERSION_PARTS:
        return None
    numbers = [str(int(part)) for part in parts] + ["0"] * (_VERSION_PARTS - len(parts))
    return Version(".".join(numbers))


def _socket(gpu: Gpu, inventory: Inventory) -> int | None:
    return None if gpu.numa_node is None else sockets_of(inventory.numa_nodes).get(gpu.numa_node)
