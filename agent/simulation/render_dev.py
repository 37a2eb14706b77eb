"""Renders /dev: the device nodes of the NVIDIA driver, DRM and RDMA."""

from __future__ import annotations

from collections.abc import Iterator

from agent.simulation import render_devices, render_proc, tree
from agent.simulation.entries import DeviceNode, Entry
from agent.simulation.spec import GpuSpec, MachineSpec, NicSpec

_CONTROL_MINOR, _MODESET_MINOR = 255, 254  # of major 195: the driver's own numbers
_IMEX_CHANNELS = "dev/nvidia-caps-imex-channels"
_RDMA_CM = (10, 58)  # a dynamic misc device


def render(spec: MachineSpec) -> Iterator[Entry]:
    """Yield the device nodes."""
    for gpu in spec.gpus:
        yield DeviceNode(f"dev/nvidia{gpu.index}", render_proc.NVIDIA_MAJOR, gpu.index)
    yield DeviceNode("dev/nvidiactl", render_proc.NVIDIA_MAJOR, _CONTROL_MINOR)
    yield DeviceNode("dev/nvidia-modeset", render_proc.NVIDIA_MAJOR, _MODESET_MINOR)
    yield DeviceNode("dev/nvidia-uvm", render_proc.UVM_MAJOR, 0)
    yield DeviceNode("dev/nvidia-uvm-tools", render_proc.UVM_MAJOR, 1)
    for minor in (1, 2):
        yield DeviceNode(f"dev/nvidia-caps/nvidia-cap{minor}", render_proc.CAPS_MAJOR, minor)
    if spec.platform is not None:  # with NVreg_CreateImexChannel0=1, as multi-node systems have it
        yield DeviceNode(f"{_IMEX_CHANNELS}/channel0", render_proc.IMEX_MAJOR, 0)
    yield from _drm(spec)
    yield from _rdma(spec)


def _drm(spec: MachineSpec) -> Iterator[Entry]:
    card = 0
    for function in tree.functions_of(spec.roots):
        is_gpu = isinstance(function.role, GpuSpec)
        if not is_gpu and function.ids.class_code != render_devices.DISPLAY_CLASS:
            continue
        yield DeviceNode(f"dev/dri/card{card}", render_devices.DRM_MAJOR, card)
        if is_gpu:
            number = render_devices.FIRST_RENDER_NODE + card
            yield DeviceNode(f"dev/dri/renderD{number}", render_devices.DRM_MAJOR, number)
        card += 1


def _rdma(spec: MachineSpec) -> Iterator[Entry]:
    nics = [f.role for f in tree.functions_of(spec.roots) if isinstance(f.role, NicSpec)]
    rdma = [nic for nic in nics if nic.rdma is not None]
    for nic in rdma:
        minor = render_devices.FIRST_UVERBS_MINOR + nic.ordinal
        name = f"dev/infiniband/uverbs{nic.ordinal}"
        yield DeviceNode(name, render_devices.UVERBS_MAJOR, minor)
    if rdma:
        yield DeviceNode("dev/infiniband/rdma_cm", *_RDMA_CM)
