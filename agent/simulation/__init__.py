"""Machine profiles, and the simulated machine made from one in a folder.

Belongs here: profiles, the PCI/NUMA/NIC tree they describe, its rendering as files, import
of captured `nvidia-smi topo -m`, commands to the simulated driver. Ships in the product.
Does not: any double of pynvml; the simulated driver is native/mocknvml, loaded as the real
one is.
"""
