"""As ``claim_trials``, for a claim with a time slice and an MPS daemon.

``python sharing_trials.py MACHINE FOLDER prepare|unprepare``
"""

import os
from types import SimpleNamespace

import claim_trials
import dying
import mps_node as mps
from claim_trials import DRIVER, POOL

from agent.config.schema import Flags
from agent.daemon.claim_sharer import GpuSharer
from agent.partition import mps_daemon, mps_sets, time_slices
from agent.planning.claim_usage import usage_obstacle
from agent.serving.claim_sharing import ClaimSharing


def config(request, sharing):
    parameters = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "GpuConfig",
        "sharing": sharing,
    }
    return {
        "source": "FromClaim",
        "requests": [request],
        "opaque": {"driver": DRIVER, "parameters": parameters},
    }


LIMITS = {"defaultActiveThreadPercentage": 50, "defaultPinnedDeviceMemoryLimit": "1Gi"}
CONFIGS = [
    config("turns", {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}}),
    config("mps", {"strategy": "MPS", "mpsConfig": LIMITS}),
]


class SharingAgent(claim_trials.Agent):
    def stages(self, store):
        return [
            ClaimSharing(
                store,
                GpuSharer(self.machine, Flags()),
                driver=DRIVER,
                obstacle=lambda uuid, usage: usage_obstacle(self.seen, uuid, usage),
                in_thread=self.in_thread,
            )
        ]

    def document(self):
        names = sorted(uuid.lower() for uuid in self.on_demand)
        results = [
            {"driver": DRIVER, "pool": POOL, "device": name, "request": request}
            for name, request in zip(names, ("turns", "mps", "mps"), strict=False)
        ]
        return {
            "metadata": {"namespace": "default", "name": "c", "uid": "u1"},
            "status": {"allocation": {"devices": {"results": results, "config": CONFIGS}}},
        }


def left_over(machine, folder):
    node = SimpleNamespace(machine=machine.root)
    records = (
        each.name
        for name in ("claim-mps", "claim-time-slices")
        for each in (machine.root / "var/lib/plumbline" / name).glob("*")
    )
    files = (
        each.name
        for name in ("claims", "claims-copies", "cdi")
        for each in (folder / name).glob("*")
    )
    return {
        "slices": len(mps.slices(node)),
        "exclusive": mps.compute_modes(node).count("exclusive-process"),
        "daemons": len(mps.found(node)),
        "files": sorted([*records, *files]),
    }


claim_trials.Agent = SharingAgent
claim_trials.left_over = left_over
claim_trials.prepares_again = lambda number: number % 4 == 0
dying.STEPS += [
    (mps_sets, "write_down"),
    (mps_sets, "forget"),
    (mps_sets, "set_compute_mode"),
    (time_slices, "write_down"),
    (time_slices, "forget"),
    (time_slices, "run_program"),
    (mps_daemon, "need_program"),
    (mps_daemon.MpsDaemon, "_await_answer"),
    (mps_daemon.MpsDaemon, "limit"),
    (mps_daemon.MpsDaemon, "kill"),
    (mps_daemon.shutil, "rmtree"),
]

if __name__ == "__main__":
    # A daemon's folders are named by the machine's, and a socket's path is short.
    os.environ.pop("CUDA_MPS_PIPE_DIRECTORY", None)
    claim_trials.main()
