"""One MPS control daemon: started, asked, told its limits, ended; found again by anybody.

A daemon outlives the agent. It is known by a mark in its environment, which its servers inherit
and its clients do not: so what an agent left that was killed at any moment is found, whatever it
had written down.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.partition.programs import environment, need_program, run_program
from agent.planning.mps import LOG_DIRECTORY, PIPE_DIRECTORY, SHM, MpsSet, Rendezvous, rendezvous_of

CONTROL = "nvidia-cuda-mps-control"
MARK = "PLUMBLINE_MPS"
# One server for the clients of all users, instead of one after the other.
_MULTI_USER = "-multiuser-server"
# A daemon answers in milliseconds.
ANSWER_S = 5.0
START_S = 15.0
END_S = 10.0
_PAUSE_S = 0.02
_WORDS_OF_LOG = 60
_ROOM_FOR_SOCKET = 107 - len("/control")  # unix(7)
_PID_FILE = "nvidia-cuda-mps-control.pid"
_MOST_DIGITS = 8  # PID_MAX_LIMIT is 4194304 (proc(5))
_LABEL = b"system_u:object_r:container_file_t:s0\0"


class MpsDaemon:
    """The daemon of one set on one machine."""

    def __init__(
        self, machine: Machine, mps_set: MpsSet, root: Path, host_driver_root: str
    ) -> None:
        """``root`` holds the folders of all sets, as this process sees it."""
        self.set = mps_set
        self._machine = machine
        self._host_driver_root = host_driver_root
        self._folder = root / mps_set.name
        self._root = root
        rendezvous = self.rendezvous
        self.pipe, self._shm = Path(rendezvous.pipe), Path(rendezvous.shm)
        self._log = self._folder / "log"

    @property
    def rendezvous(self) -> Rendezvous:
        """Return where containers meet it."""
        return rendezvous_of(self.set, str(self._root), str(self._machine.path(SHM)))

    def answers(self) -> str | None:
        """Return None when it answers, else what is wrong."""
        try:
            float(self.ask("get_default_active_thread_percentage"))
        except ValueError:
            return "its MPS daemon answers nonsense"
        except HardwareError as error:
            return f"its MPS daemon does not answer: {error}"
        return None

    def ask(self, command: str) -> str:
        """Return what it answers. Raises HardwareError."""
        env = {PIPE_DIRECTORY: str(self.pipe)}
        told = command + "\n"
        return run_program(self._machine, CONTROL, longest_s=ANSWER_S, env=env, told=told).strip()

    def control(self) -> int | None:
        """Return the process id of the daemon; None when it does not live."""
        noted = self._noted_control()
        if noted is not None:
            return noted
        return next((each.pid for each in self.processes() if self._is_control(each)), None)

    def servers(self) -> list[int]:
        """Return the process ids of its servers: some client may be connected to each."""
        return [each.pid for each in self.processes() if not self._is_control(each)]

    def processes(self) -> list[psutil.Process]:
        """Return every living process that bears its mark."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if self._bears_mark(process):
                    found.append(process)
        return found

    def start(self) -> None:
        """Start it, and wait until it answers. Raises HardwareError."""
        if len(str(self.pipe)) > _ROOM_FOR_SOCKET:
            raise HardwareError(
                f"{self.pipe} is too long a path for a socket; choose a shorter flags.mpsRoot"
            )
        if self.answers() is None:
            raise HardwareError(
                f"another MPS daemon answers at {self.pipe}: end it (NVIDIA's own DaemonSet for"
                " it?), or choose another flags.mpsRoot"
            )
        self._make_folders()
        program = need_program(self._machine, CONTROL)
        root = str(self._machine.driver_root or self._machine.root)
        log = self._log / "output.log"
        command = [str(program), "-f", *([_MULTI_USER] if self.set.multi_user else [])]
        become = [str(log), str(self._shm), root, self._host_driver_root, *command]
        env = {
            **environment(self._machine),
            PIPE_DIRECTORY: str(self.pipe),
            LOG_DIRECTORY: str(self._log),
            "CUDA_VISIBLE_DEVICES": ",".join(self.set.gpus),
            MARK: str(self.pipe),
        }
        launch = [sys.executable, "-m", "agent.partition.mps_launch", *become]
        try:
            subprocess.run(  # noqa: S603 - a module of ours
                launch, env=env, check=True, timeout=START_S, capture_output=True, text=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise HardwareError(f"starting the MPS daemon of {self.set.name}: {error}") from error
        self._await_answer(log)

    def limit(self) -> None:
        """Tell it what a client may use; those that are connected keep what they have.

        Devices go by number: a UUID is taken there and does nothing. Raises HardwareError.
        """
        for number, each in enumerate(self.set.limits):
            if each.memory_mib is None:
                continue
            self.ask(f"set_default_device_pinned_mem_limit {number} {each.memory_mib}M")
        self.ask(f"set_default_active_thread_percentage {self.set.threads_percent}")

    def end(self) -> None:
        """End it and its servers, by force where asking does not help. Raises HardwareError."""
        if self.processes():
            with suppress(HardwareError):
                self.ask("quit")
        self.kill()
        shutil.rmtree(self._folder / "pipe", ignore_errors=True)
        shutil.rmtree(self._log, ignore_errors=True)
        shutil.rmtree(self._shm, ignore_errors=True)
        with suppress(OSError):  # others' folders may lie in it
            self._folder.rmdir()

    def kill(self) -> None:
        """End what is left of it and its servers. Raises HardwareError when it stays."""
        left = self.processes()
        for process in left:
            with suppress(psutil.Error):
                process.terminate()
        _, left = psutil.wait_procs(left, timeout=END_S / 2)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        _, left = psutil.wait_procs(left, timeout=END_S)
        if left:
            pids = ", ".join(str(each.pid) for each in left)
            raise HardwareError(f"the MPS daemon of {self.set.name} does not end: process {pids}")

    def _noted_control(self) -> int | None:
        """Return the process that the daemon's own file names, if it is the daemon.

        Clients can write into the folder: what they leave there must neither lie nor block.
        """
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.pipe / _PID_FILE, flags)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                pid = int(file.read(_MOST_DIGITS) or b"")
            process = psutil.Process(pid)
            known = self._bears_mark(process) and self._is_control(process)
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if known else None

    def _bears_mark(self, process: psutil.Process) -> bool:
        """Return True for a living process of this daemon. Raises psutil.Error."""
        marked: bool = process.environ().get(MARK) == str(self.pipe)
        return marked and process.status() != psutil.STATUS_ZOMBIE

    def _is_control(self, process: psutil.Process) -> bool:
        # The kernel knows a program by 15 letters, the same for the daemon and its servers.
        with suppress(psutil.Error):
            return not any("server" in word for word in process.cmdline())
        return False

    def _make_folders(self) -> None:
        try:
            for folder in (self.pipe, self._log, self._shm):
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            # Like /dev/shm: every user of a container makes files in it.
            self._shm.chmod(0o1777)
            if self._machine.path("/sys/fs/selinux/enforce").exists():
                for folder in (self.pipe, self._shm):
                    os.setxattr(folder, "security.selinux", _LABEL)
        except OSError as error:
            raise HardwareError(f"{error.filename}: {error.strerror}") from error

    def _await_answer(self, log: Path) -> None:
        until_s = time.monotonic() + START_S
        while (reason := self.answers()) is not None:
            if time.monotonic() > until_s or not self.processes():
                said = (
                    " ".join(log.read_text(errors="replace").split()[-60:]) if log.exists() else ""
                )
                raise HardwareError(
                    f"the MPS daemon of {self.set.name} did not start: {reason}; it said:"
                    f" {said or 'nothing'}"
                )
            time.sleep(_PAUSE_S)
