"""Carries out Steps on GPUs: the only place that changes how a GPU is divided.

What is planned comes in as values (``agent.planning.mig_outcome``). Here belong the verbs of NVML
that change something, the journal that outlives a crash, the locks between processes, undoing and
recovering. What to divide, and why, is decided elsewhere; nothing here asks the kubelet.
"""
