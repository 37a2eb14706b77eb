"""How the daemon of a set is found among the processes of a node."""

import os
import subprocess

import psutil
import pytest

from agent.model.machine import Machine
from agent.partition.mps_daemon import MARK, MpsDaemon
from agent.planning.mps import Limits, MpsSet

PID_FILE = "nvidia-cuda-mps-control.pid"


@pytest.fixture
def daemon(tmp_path):
    limits = (Limits(memory_mib=1, threads_percent=1),)
    mps_set = MpsSet(name="a", resource="r", gpus=("GPU-0",), limits=limits)
    machine = Machine.simulated(tmp_path)
    found = MpsDaemon(machine, mps_set, machine.path("/run/mps"), host_driver_root="/")
    found.pipe.mkdir(parents=True)
    return found


@pytest.fixture
def process():
    """Something that lives until the test has ended, with or without a mark."""
    started = []

    def start(mark=None, *, name="sleep"):
        env = os.environ if mark is None else {**os.environ, MARK: str(mark)}
        started.append(subprocess.Popen([name, "600"], executable="/bin/sleep", env=env))
        return started[-1].pid

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.fixture
def scans(monkeypatch):
    """Counts the looks at every process there is."""
    seen = []
    every = psutil.process_iter
    monkeypatch.setattr(psutil, "process_iter", lambda: seen.append(1) or every())
    return seen


def test_a_daemon_that_has_noted_its_number_is_found_by_it_alone(daemon, process, scans):
    pid = process(daemon.pipe)
    (daemon.pipe / PID_FILE).write_text(f"{pid}\n")

    assert daemon.control() == pid
    assert not scans


def test_a_number_that_is_not_the_daemons_is_not_believed(daemon, process):
    note = daemon.pipe / PID_FILE
    others = [process(), process("elsewhere"), process(daemon.pipe, name="server"), 1, 4194305]
    for other in others:
        note.write_text(str(other))
        assert daemon.control() is None

    pid = process(daemon.pipe)
    for text in ("", "-1", "many", "9" * 30, "\0", *map(str, others)):
        note.write_text(text)
        assert daemon.control() == pid


def test_what_a_client_puts_in_the_place_of_the_note_holds_nobody_up(daemon, process):
    pid = process(daemon.pipe)
    note = daemon.pipe / PID_FILE
    os.mkfifo(note)
    assert daemon.control() == pid

    note.unlink()
    note.mkdir()
    assert daemon.control() == pid

    note.rmdir()
    note.symlink_to("/dev/zero")
    assert daemon.control() == pid
