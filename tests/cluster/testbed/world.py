"""A node's own world: mount and PID namespaces in which all its components run.

Whatever is mounted or started in it is gone with its first process, so that a test run that
is killed leaves no process and no mount behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.process import Process

_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--propagation=private")
INIT = Path(__file__).with_name("init.py")


@dataclass(frozen=True, slots=True)
class Scratch:
    """An empty folder over one of the machine's; with ``keep``, what was in it stays."""

    path: str
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder put in the place of another."""

    source: Path
    path: str


class World:
    """Namespaces, held by a process that ends when this one does."""

    def __init__(self, mounts: Sequence[Scratch | Bind]) -> None:
        """Make the world. Raises RuntimeError where that is not possible."""
        steps = [
            {"kind": "scratch", "path": m.path, "keep": m.keep}
            if isinstance(m, Scratch)
            else {"kind": "bind", "source": str(m.source), "path": m.path}
            for m in mounts
        ]
        self._unshare = subprocess.Popen(
            [*_UNSHARE, sys.executable, "-I", "-S", str(INIT), json.dumps(steps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if self._unshare.stdout.readline() != b"ready\n":
            words = self._unshare.stderr.read().decode()
            raise RuntimeError(f"cannot make namespaces for the node: {words.strip()}")
        pid = self._unshare.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.pid = int(child)

    @property
    def root(self) -> Path:
        """Return the world's file system as seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    def start(
        self, name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a component in the world."""
        return Process(name, self.pid, argv, log=log, env={**os.environ, **(env or {})})

    def run(self, *argv: str, timeout_s: float = 60) -> str:
        """Run a command in the world to its end; return what it printed."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--", *argv],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} exited {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def end(self) -> None:
        """End everything in the world."""
        self._unshare.stdin.close()
        self._unshare.wait(20)
        self._unshare.stdout.close()
        self._unshare.stderr.close()
