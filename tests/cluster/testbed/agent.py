"""The agent on the node, as a DaemonSet's container would run it: in the node's namespaces."""

from __future__ import annotations

import json
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asyncinotify import Inotify, Mask

from testbed.process import ComponentFailed, Process, last_lines
from testbed.world import World

_PROGRAM = "from agent.cli.main import main; main()"
_REPOSITORY = Path(__file__).parents[3]


class Agent:
    """Starts and ends agent processes; reads what they log."""

    def __init__(self, world: World, folder: Path, machine: Path) -> None:
        """Prepare; nothing runs yet."""
        self._world = world
        self._machine = machine
        self.log = folder / "agent.log"
        self.config = folder / "agent.yaml"
        self.process: Process | None = None
        """The agent that was started last."""
        self._started: list[Process] = []
        self._flags: tuple[str, ...] = ()
        self._env: Mapping[str, str] = {}
        self._interpreter: tuple[str, ...] = (sys.executable,)

    def start(
        self,
        *flags: str,
        config: str | None = None,
        source: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start an agent with these flags, beside those that run.

        ``config`` is written to the configuration file first; ``source`` is the folder of
        another version's packages (``versions.make``).
        """
        if config is not None:
            self.configure(config)
            flags = (f"--config-file={self.config}", *flags)
        self._flags = flags
        self._env = {
            "PLUMBLINE_LOG_LEVEL": "debug",
            "PLUMBLINE_LOG_FORMAT": "json",
            "PYTHONPATH": os.pathsep.join(
                [str(source), *_site_packages()] if source else [str(_REPOSITORY)]
            ),
            **(env or {}),
        }
        self._interpreter = (sys.executable, *(("-S",) if source else ()))
        return self._launch()

    def restart(self, signal_: signal.Signals = signal.SIGTERM) -> Process:
        """End the agent with a signal and start it again as it was."""
        self.stop(signal_)
        return self._launch()

    def stop(self, signal_: signal.Signals = signal.SIGTERM) -> int:
        """End the agent; return its exit code."""
        process, self.process = self.process, None
        return process.end(signal_)

    def end(self) -> None:
        """End every agent that runs."""
        for process in self._started:
            process.end()
        self._started.clear()
        self.process = None

    def configure(self, text: str) -> None:
        """Put a configuration file in place as an editor does: whole, by renaming."""
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.rename(self.config)

    def events(self, name: str | None = None, *, since: int = 0) -> list[dict[str, Any]]:
        """Return the events logged from an offset of the log on."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(since)
            whole = file.read().rpartition(b"\n")[0]
        events = [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return [event for event in events if name in (None, event["event"])]

    def mark(self) -> int:
        """Return the log's present end, for ``since``."""
        return self.log.stat().st_size if self.log.exists() else 0

    def wait_event(
        self, name: str, *, since: int = 0, nth: int = 1, timeout_s: float = 15, **facts: object
    ) -> dict[str, Any]:
        """Return the first (or nth) event with this name and these facts, waiting for it."""
        deadline = time.monotonic() + timeout_s
        with Inotify(sync_timeout=0.5) as changes:
            changes.add_watch(self.log.parent, Mask.MODIFY | Mask.CREATE)
            while True:
                found = self.events(name, since=since)
                matching = [event for event in found if facts.items() <= event.items()]
                if len(matching) >= nth:
                    return matching[nth - 1]
                if self.process is not None and not self.process.running:
                    raise self.process.failed(f"ended with {self.process.exit_code}")
                if time.monotonic() > deadline:
                    raise ComponentFailed(
                        f"agent: no event {name} {facts} within {timeout_s} s\n"
                        + last_lines(self.log)
                    )
                next(iter(changes), None)

    def calls(self, *, since: int = 0) -> Sequence[dict[str, Any]]:
        """Return the kubelet's finished calls."""
        return self.events("rpc_end", since=since)

    def _launch(self) -> Process:
        argv = [*self._interpreter, "-c", _PROGRAM, "run", f"--machine={self._machine}"]
        argv += self._flags
        self.process = self._world.start("agent", argv, log=self.log, env=self._env)
        self._started = [each for each in self._started if each.running] + [self.process]
        return self.process


def _site_packages() -> list[str]:
    """Return where the agent's dependencies are.

    Another version is started without ``site``: an editable install puts a finder of its own
    before the whole of the path there, and this version would be found first.
    """
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
