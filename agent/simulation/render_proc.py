"""Renders /proc: what the NVIDIA driver shows there, and the little of the kernel that is read."""

from __future__ import annotations

from collections.abc import Iterator

from agent.simulation import identity
from agent.simulation.entries import Entry, File, text
from agent.simulation.spec import GpuSpec, MachineSpec

NVIDIA_MAJOR = 195  # Documentation/admin-guide/devices.txt of the kernel
UVM_MAJOR = 507  # dynamic on a real node, where /proc/devices tells it as it does here
CAPS_MAJOR = 234
IMEX_MAJOR = 233

_CAPABILITIES = "proc/driver/nvidia/capabilities"
_INSTANCES, _COMPUTE_INSTANCES = 15, 8  # of a GPU, of a GPU instance: the driver's fixed table
_TABLE_GPUS = 32


def render(spec: MachineSpec) -> Iterator[Entry]:
    """Yield /proc."""
    yield from _driver(spec)
    for gpu in spec.gpus:
        yield from _gpu(spec, gpu)
    yield File("proc/driver/nvidia-caps/mig-minors", _mig_minors())
    yield from _capabilities()
    yield from _kernel(spec)


def _driver(spec: MachineSpec) -> Iterator[Entry]:
    module = f"NVIDIA UNIX {spec.architecture} Kernel Module  {spec.driver_version}"
    version = (
        f"NVRM version: {module}  Wed Feb 26 01:57:05 UTC 2025\n"
        "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
    )
    yield File("proc/driver/nvidia/version", version.encode())
    params = "DeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\nModifyDeviceFiles: 1\n"
    yield File("proc/driver/nvidia/params", params.encode())
    yield text("sys/module/nvidia/version", spec.driver_version)
    yield text("sys/module/nvidia/initstate", "live")


def _gpu(spec: MachineSpec, gpu: GpuSpec) -> Iterator[Entry]:
    here = f"proc/driver/nvidia/gpus/{gpu.address}"
    lines = (
        f"Model: \t\t {gpu.model.name}",
        f"IRQ:   \t\t {100 + gpu.index}",
        f"GPU UUID: \t {gpu.uuid}",
        "Video BIOS: \t ??.??.??.??.??",
        "Bus Type: \t PCIe",
        "DMA Size: \t 52 bits",
        "DMA Mask: \t 0xfffffffffffff",
        f"Bus Location: \t {gpu.address}",
        f"Device Minor: \t {gpu.index}",
        f"GPU Firmware: \t {spec.driver_version}",
        "GPU Excluded:\t No",
    )
    yield File(f"{here}/information", "".join(f"{line}\n" for line in lines).encode())
    if gpu.memory_numa_node is not None:
        status = f"Node: {gpu.memory_numa_node}\nStatus: online\n"
        yield File(f"{here}/numa_status", status.encode())


def _mig_minors() -> bytes:
    """Return the driver's table of capability minors: the same on every node."""
    names = ["config", "monitor"]
    for gpu in range(_TABLE_GPUS):
        for instance in range(_INSTANCES):
            names.append(f"gpu{gpu}/gi{instance}/access")
            names += [
                f"gpu{gpu}/gi{instance}/ci{compute}/access" for compute in range(_COMPUTE_INSTANCES)
            ]
    return "".join(f"{name} {minor}\n" for minor, name in enumerate(names, start=1)).encode()


def _capabilities() -> Iterator[Entry]:
    for minor, name in enumerate(("config", "monitor"), start=1):
        content = f"DeviceFileMinor: {minor}\nDeviceFileMode: 256\nDeviceFileModify: 1\n"
        yield File(f"{_CAPABILITIES}/mig/{name}", content.encode())


def _kernel(spec: MachineSpec) -> Iterator[Entry]:
    yield text("proc/sys/kernel/random/boot_id", identity.boot_id(spec.identity))
    yield text("proc/sys/kernel/hostname", spec.name)
    yield File("proc/devices", _devices(spec))
    yield File("proc/cpuinfo", _cpuinfo(spec))
    total = sum(node.memory_bytes for node in spec.numa_nodes) >> 10
    lines = (f"{key + ':':<16}{total:>8} kB\n" for key in ("MemTotal", "MemFree", "MemAvailable"))
    yield File("proc/meminfo", "".join(lines).encode())


def _devices(spec: MachineSpec) -> bytes:
    names = {
        NVIDIA_MAJOR: "nvidia",
        UVM_MAJOR: "nvidia-uvm",
        CAPS_MAJOR: "nvidia-caps",
        226: "drm",
        231: "infiniband_verbs",
    }
    if spec.platform is not None:
        names[IMEX_MAJOR] = "nvidia-caps-imex-channels"
    lines = "".join(f"{major:>3} {name}\n" for major, name in sorted(names.items()))
    return f"Character devices:\n{lines}\nBlock devices:\n".encode()


def _cpuinfo(spec: MachineSpec) -> bytes:
    cores = {cpu.socket: 0 for cpu in spec.cpus}
    for cpu in spec.cpus:
        cores[cpu.socket] = max(cores[cpu.socket], cpu.core + 1)
    return "".join(
        f"processor\t: {cpu.id}\nmodel name\t: {spec.cpu_model}\nphysical id\t: {cpu.socket}\n"
        f"core id\t\t: {cpu.core}\ncpu cores\t: {cores[cpu.socket]}\n\n"
        for cpu in sorted(spec.cpus, key=lambda cpu: cpu.id)
    ).encode()
