"""MPS daemons of a simulated node, as its administrator would look at them."""

import contextlib
import os
import subprocess

import psutil

from agent.partition.mps_daemon import MARK
from agent.simulation.driver import Driver
from agent.simulation.machines import read_facts
from agent.simulation.smi import time_slices


def processes(node):
    """Every MPS process of a node, daemons and servers."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mine = process.environ().get(MARK, "").startswith(str(node.machine))
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def daemons(node):
    """The control daemons of a node: pipe directory to process."""
    return {
        each.environ()[MARK]: each for each in processes(node) if "--server" not in each.cmdline()
    }


def compute_modes(node):
    """The compute modes of a node's GPUs, by index."""
    with Driver(node.machine) as driver:
        facts = read_facts(driver.describe())
    indices = sorted(int(name.split()[1]) for name in facts if name.startswith("gpu "))
    return [facts[f"gpu {i}"].get("compute_mode", "default") for i in indices]


def slices(node):
    """The time slices that were set, by UUID, as nvidia-smi numbers them; the default left out."""
    folder = time_slices(node.machine)
    found = {each.name: int(each.read_text()) for each in folder.glob("*")}
    return {uuid: number for uuid, number in found.items() if number}


def told(node, pipe, command):
    """What a daemon answers."""
    done = subprocess.run(
        [node.machine / "usr/bin/nvidia-cuda-mps-control"],
        env={**os.environ, "CUDA_MPS_PIPE_DIRECTORY": pipe},
        input=command + "\n",
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


def end_all(node):
    """Leave no process behind."""
    for process in processes(node):
        with contextlib.suppress(psutil.Error):
            process.kill()
