"""Inventory values for tests, each fact overridable by name."""

from agent.model.inventory import (
    Gpu,
    Inventory,
    Nic,
    NicPort,
    NumaNode,
    PciAddress,
    PcieLink,
)

UNKNOWN_PCIE = PcieLink(
    max_generation=None, max_width=None, current_generation=None, current_width=None
)


def address(index):
    return PciAddress(f"0000:{index + 1:02x}:00.0")


def gpu(index, **facts):
    values = {
        "index": index,
        "uuid": f"GPU-{index}",
        "name": "NVIDIA H100 80GB HBM3",
        "brand": None,
        "architecture": None,
        "compute_capability": None,
        "serial": None,
        "minor": index,
        "module_id": None,
        "board_id": None,
        "memory_bytes": 2**30,
        "numa_node": 0,
        "memory_numa_node": None,
        "cpu_affinity": (),
        "memory_affinity": (),
        "position": None,
        "address": address(index),
        "pcie": UNKNOWN_PCIE,
        "mig": None,
        "links": (),
        "c2c_links": 0,
        "fabric": None,
    }
    return Gpu(**{**values, **facts})


def nic(name, **facts):
    port = NicPort(number=1, state="ACTIVE", rate_gbps=400.0, link_layer="InfiniBand")
    values = {
        "name": name,
        "address": PciAddress("0000:f0:00.0"),
        "position": None,
        "rdma": True,
        "interfaces": (),
        "ports": (port,),
        "numa_node": 0,
        "physical_function": None,
        "nvlink_management": False,
    }
    return Nic(**{**values, **facts})


def numa(number, cpus=(0,)):
    return NumaNode(id=number, cpus=cpus, distances={}, memory_bytes=None, socket=0)


def inventory(*gpus, **facts):
    values = {
        "driver_version": "570.124.06",
        "nvml_version": "12.570.124.06",
        "cuda_version": "12.8",
        "gpus": gpus,
        "unavailable": (),
        "nics": (),
        "numa_nodes": (),
        "pairs": (),
    }
    return Inventory(**{**values, **facts})
