"""The nvidia-cuda-mps-control of a simulated machine: a daemon, and the shell that commands it.

Behaves as NVIDIA's "Multi-Process Service" documentation says, as far as its control goes: one
daemon per pipe directory, with its pid beside its socket; limits by the ordinal of a device
among those that the daemon sees (a UUID there is taken and does nothing); servers as processes
of their own, started for the first client of a user, or by ``start_server``. What a real one
does for CUDA it does not.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

_DEFAULT_PIPE = "/tmp/nvidia-mps"  # noqa: S108 - the real program's
_NO_DAEMON = "Cannot find MPS control daemon process\n"
_RUNNING = "An instance of this daemon is already running\n"


def main(arguments: list[str]) -> int:
    """Run it; return the exit code."""
    pipe = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or _DEFAULT_PIPE)
    match arguments:
        case []:
            return _command(pipe)
        case ["-f"] | ["-f", "-multiuser-server"]:
            return Control(pipe).serve()
        case ["-d"]:
            return 0 if os.fork() else Control(pipe).serve()
        case ["--server"]:
            signal.pause()
            return 0
        case _:
            sys.stderr.write("usage: nvidia-cuda-mps-control [-d | -f [-multiuser-server]]\n")
            return 1


def _command(pipe: Path) -> int:
    """Tell the daemon what stands on the input; print what it answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(pipe / "control"))
        except OSError:
            sys.stderr.write(_NO_DAEMON)
            return 1
        connection.sendall(sys.stdin.read().encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile() as answers:
            sys.stdout.write(answers.read())
    return 0


class Control:
    """The control daemon."""

    def __init__(self, pipe: Path) -> None:
        """Remember where it listens; nothing is made yet."""
        self._pipe = pipe
        self._threads = 100.0
        self._memory: dict[int, str] = {}
        self._servers: list[subprocess.Popen[bytes]] = []
        self._devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
        self._ending = False

    def serve(self) -> int:
        """Serve until told to quit."""
        self._pipe.mkdir(parents=True, exist_ok=True)
        with (self._pipe / "control_lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.stderr.write(_RUNNING)
                return 1
            path, pid = self._pipe / "control", self._pipe / "nvidia-cuda-mps-control.pid"
            path.unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen()
                pid.write_text(f"{os.getpid()}\n")
                self._log(f"Starting control daemon using socket {path}")
                while not self._ending:
                    self._converse(listener)
            path.unlink(missing_ok=True)
            pid.unlink(missing_ok=True)
        return 0

    def _converse(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as talk:
            for line in talk.read().splitlines():
                self._obey(line.split(), talk)

    def _obey(self, words: list[str], talk: IO[str]) -> None:
        self._log(f"Obeying {' '.join(words)}")
        known: dict[str, Callable[[list[str]], str]] = {
            "get_default_active_thread_percentage": lambda _: f"{self._threads:.1f}",
            "set_default_active_thread_percentage": self._set_threads,
            "get_default_device_pinned_mem_limit": lambda w: self._memory.get(int(w[0]), "0"),
            "set_default_device_pinned_mem_limit": self._set_memory,
            "get_server_list": lambda _: "\n".join(str(each.pid) for each in self._living()),
            "start_server": lambda _: self._start_server(),
            "quit": lambda _: self._quit(),
        }
        obey = known.get(words[0]) if words else None
        answer = obey(words[1:]) if obey else "Command not found"
        if answer:
            talk.write(answer + "\n")

    def _set_threads(self, words: list[str]) -> str:
        self._threads = float(words[0])
        return f"{self._threads:.1f}"

    def _set_memory(self, words: list[str]) -> str:
        device, limit = words
        if not device.isdecimal():
            return ""
        if int(device) >= len(self._devices):
            return f"Invalid device {device}"
        self._memory[int(device)] = limit
        return ""

    def _living(self) -> list[subprocess.Popen[bytes]]:
        self._servers = [each for each in self._servers if each.poll() is None]
        return self._servers

    def _start_server(self) -> str:
        command = [sys.executable, "-m", __spec__.name, "--server"]
        self._servers.append(subprocess.Popen(command))  # noqa: S603 - this module itself
        return ""

    def _quit(self) -> str:
        self._ending = True
        for each in self._living():
            each.kill()
            each.wait()
        return ""

    def _log(self, text: str) -> None:
        folder = Path(os.environ.get("CUDA_MPS_LOG_DIRECTORY") or "/var/log/nvidia-mps")
        if folder.is_dir():
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            with (folder / "control.log").open("a") as log:
                log.write(f"[{stamp} Control {os.getpid()}] {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
