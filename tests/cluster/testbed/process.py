"""One component as a process in a node's world."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAST_LINES = 25


class ComponentFailed(AssertionError):
    """A component did not do what it must; the message ends with its last words."""


class Process:
    """Started with nsenter, which waits for it; ``pid`` is the component's own."""

    def __init__(
        self, name: str, world: int, argv: Sequence[str], *, log: Path, env: Mapping[str, str]
    ) -> None:
        """Start ``argv`` in the namespaces of process ``world``."""
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._nsenter = subprocess.Popen(
                ["nsenter", f"--target={world}", "--mount", "--pid", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                # A Ctrl-C is for the tests; they end the components in order.
                start_new_session=True,
            )
        self.pid = self._child()

    @property
    def running(self) -> bool:
        """Return whether it has not ended."""
        return self._nsenter.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return self._nsenter.poll()

    def send(self, signal_: signal.Signals) -> None:
        """Send a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal_)
        if signal_ is signal.SIGCONT:
            # nsenter stops when its child is stopped, and does not go on with it.
            self._nsenter.send_signal(signal_)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self._nsenter.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self.failed(f"has not ended within {timeout_s} s") from None

    def end(self, signal_: signal.Signals = signal.SIGTERM, *, timeout_s: float = 20) -> int:
        """Send a signal and wait for the end; return the exit code."""
        self.send(signal_)
        # nsenter stops when its child is stopped, and would not notice the child's end.
        self._nsenter.send_signal(signal.SIGCONT)
        return self.wait(timeout_s)

    def wait_logged(self, text: str, timeout_s: float = 15) -> None:
        """Wait until its log holds a text."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log.read_text(errors="replace"):
            if time.monotonic() > deadline:
                raise self.failed(f"has not logged {text!r} within {timeout_s} s")
            time.sleep(0.02)

    def failed(self, what: str) -> ComponentFailed:
        """Return an error about this component, with its last lines."""
        return ComponentFailed(f"{self.name} {what}\n{self.last_lines()}")

    def last_lines(self) -> str:
        """Return the end of its log."""
        return last_lines(self.log)

    def _child(self) -> int:
        # nsenter forks as soon as it has entered; until then there is nothing to wait on.
        children = Path(f"/proc/{self._nsenter.pid}/task/{self._nsenter.pid}/children")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.running:
            with contextlib.suppress(OSError):
                if found := children.read_text().split():
                    return int(found[0])
            time.sleep(0.002)
        if self.running:
            raise self.failed("was not started by nsenter")
        return self._nsenter.pid  # ended already: whoever waits for it learns so


def last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """Return the end of a log, headed by its path."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"--- last lines of {log.name}:", *lines[-count:]])
