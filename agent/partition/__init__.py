"""Changes GPUs: the only place that sets anything on them, or starts what serves them.

What is planned comes in as values (``agent.planning``). Here belong the verbs of NVML and of the
driver's programs that change something: how a GPU is divided, with the journal that outlives a
crash, the locks between processes, undoing and recovering; and how it is shared, with the MPS
daemons and what is to be put back. What to change, and why, is decided elsewhere; nothing here
asks the kubelet.
"""
