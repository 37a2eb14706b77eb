"""Has the device nodes made that open new instances: NVML makes instances without them."""

from __future__ import annotations

from collections.abc import Iterable

from agent.discovery.device_nodes import DeviceNodes
from agent.discovery.mig_gpus import MigReading
from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.model.mig import Partition
from agent.partition.programs import SMI, run_program
from agent.telemetry import logs

# It lists the GPUs, and for that opens them: no longer than any look at the node.
_LONGEST_S = 30.0


def make_nodes(machine: Machine, readings: Iterable[MigReading]) -> None:
    """Run ``nvidia-smi -L`` where an instance lacks a node: it makes what is missing in /dev.

    Where that does not help, the instances are there all the same; whoever offers them says what
    is missing.
    """
    if not any(_lacks(machine, each) for each in readings):
        return
    try:
        run_program(machine, SMI, ["-L"], longest_s=_LONGEST_S)
    except HardwareError as error:
        logs.warning("mig_nodes_missing", reason=f"nvidia-smi made none: {error}")


def _lacks(machine: Machine, reading: MigReading) -> bool:
    """Return True when an instance has a node neither in /dev nor in the driver's own."""
    bare = Partition(profiles=reading.profiles, instances=reading.instances)
    roots = ["/", *([str(machine.driver_root)] if machine.driver_root else [])]
    return all(
        any(
            None in (around.access_node, *(each.access_node for each in around.compute))
            for around in DeviceNodes(machine, root).with_access(bare, reading.minor).instances
        )
        for root in roots
    )
