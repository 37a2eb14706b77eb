"""Divides the GPUs of a simulated machine as any program of the node would."""

import os
import subprocess
import sys

_PROGRAM = """
import sys, pynvml
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(int(sys.argv[1]))
if not pynvml.nvmlDeviceGetMigMode(gpu)[0]:
    pynvml.nvmlDeviceSetMigMode(gpu, 1)
for word in sys.argv[2:]:
    profile, _, parts = word.partition(":")
    made = pynvml.nvmlDeviceCreateGpuInstance(gpu, int(profile))
    for part in parts.split(",") if parts else ():
        pynvml.nvmlGpuInstanceCreateComputeInstance(made, int(part))
"""


def divide(folder, gpu, *instances):
    """Make GPU instances on a GPU that can switch MIG on by itself.

    Each is ``PROFILE`` or ``PROFILE:COMPUTE,COMPUTE``, ids as the driver reports them.
    """
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(gpu), *instances],
        env=os.environ | {"LD_LIBRARY_PATH": str(folder / "lib")},
        check=True,
    )
