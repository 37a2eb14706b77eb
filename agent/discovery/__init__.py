"""Reads the machine (NVML, agent._native, /proc) into an Inventory, and watches it.

Belongs here: every call into pynvml (with agent.partition), translation of its errors,
the join of NVML with sysfs by PCI address, NVML events. Does not: judgement about what to
offer, writes of any kind.
"""
