"""Divides the GPUs of a simulated machine as any program of the node would."""

import json
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


_DESTROY = """
import ctypes, sys, pynvml
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(int(sys.argv[1]))
chosen = set(map(int, sys.argv[2:]))

def listed(call, owner, profile, kind, most):
    found, count = (kind * most)(), ctypes.c_uint(0)
    call(owner, profile, found, ctypes.byref(count))
    return found[: count.value]

for number in range(10):
    try:
        profile = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu, number)
    except pynvml.NVMLError:
        continue
    kind = pynvml.c_nvmlGpuInstance_t
    for around in listed(pynvml.nvmlDeviceGetGpuInstances, gpu, profile.id, kind, 8):
        if chosen and pynvml.nvmlGpuInstanceGetInfo(around).id not in chosen:
            continue
        for inner in range(8):
            kind = pynvml.c_nvmlComputeInstance_t
            call = pynvml.nvmlGpuInstanceGetComputeInstances
            try:
                for each in listed(call, around, inner, kind, 8):
                    pynvml.nvmlComputeInstanceDestroy(each)
            except pynvml.NVMLError:
                pass
        pynvml.nvmlGpuInstanceDestroy(around)
"""


def destroy(folder, gpu, *instances):
    """Destroy GPU instances of a GPU by id, with what is in them; all when none is named."""
    subprocess.run(
        [sys.executable, "-c", _DESTROY, str(gpu), *map(str, instances)],
        env=os.environ | {"LD_LIBRARY_PATH": str(folder / "lib")},
        check=True,
    )


def instances(folder, gpu):
    """Return the MIG devices of a GPU as `plumbline mig status` shows them, by UUID."""
    program = "from agent.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "mig", "status", "--machine", folder, "-o", "json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    return {each["uuid"]: each for each in json.loads(done.stdout)[gpu]["instances"]}
