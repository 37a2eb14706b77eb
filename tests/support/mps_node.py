"""MPS daemons of a simulated node, as its administrator would look at them."""

import contextlib
import os
import subprocess
from dataclasses import dataclass

import psutil

from agent.partition.mps_daemon import MARK
from agent.simulation.driver import Driver
from agent.simulation.machines import read_facts
from agent.simulation.smi import time_slices


@dataclass(frozen=True)
class Found:
    """A process as it was when it was found; it may have ended since."""

    process: psutil.Process
    pipe: str
    gpus: str
    is_server: bool

    @property
    def pid(self):
        return self.process.pid


def found(node):
    """Every MPS process of a node, daemons and servers."""
    everything = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            env, words, status = process.environ(), process.cmdline(), process.status()
            mine = env.get(MARK, "").startswith(str(node.machine))
            if mine and status != psutil.STATUS_ZOMBIE:
                everything.append(
                    Found(process, env[MARK], env["CUDA_VISIBLE_DEVICES"], "--server" in words)
                )
    return everything


def processes(node):
    return [each.process for each in found(node)]


def servers(node):
    return [each.process for each in found(node) if each.is_server]


def daemons(node):
    """The control daemons of a node by pipe directory."""
    return {each.pipe: each for each in found(node) if not each.is_server}


def is_replaced(node, pipe, daemon):
    """True when another control daemon lives at a pipe directory."""
    now = daemons(node).get(pipe)
    return now is not None and now.pid != daemon.pid


def compute_modes(node):
    """The compute modes of a node's GPUs, by index."""
    with Driver(node.machine) as driver:
        facts = read_facts(driver.describe())
    indices = sorted(int(name.split()[1]) for name in facts if name.startswith("gpu "))
    return [facts[f"gpu {i}"].get("compute_mode", "default") for i in indices]


def slices(node):
    """The time slices that were set, by UUID, as nvidia-smi numbers them; the default left out."""
    folder = time_slices(node.machine)
    whole = (each for each in folder.glob("GPU-*") if each.suffix != ".tmp")
    numbers = {each.name: int(each.read_text()) for each in whole}
    return {uuid: number for uuid, number in numbers.items() if number}


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
