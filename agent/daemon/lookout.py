"""The blocking half of the Node: driver session, watch, and one look at a time.

Every method but ``close`` runs on a thread of its own, one at a time: a driver that hangs
holds that thread, never the event loop, and never the end of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.config.own import ServingMode
from agent.config.schema import Config
from agent.discovery import locality
from agent.discovery.events import Observation, Watch
from agent.discovery.inventory import observe
from agent.discovery.library import Session
from agent.model.errors import ConfigError, DriverReplacedError, HardwareError
from agent.model.inventory import Distance, Inventory
from agent.model.machine import Machine
from agent.telemetry import logs


class Lookout:
    """Looks at the node, and keeps a watch on it from before the first look."""

    def __init__(self, machine: Machine, notify: Callable[[Observation], None]) -> None:
        """Prepare; ``notify`` is called on the watching threads."""
        self._machine = machine
        self._notify = notify
        self._session: Session | None = None
        self._watch: Watch | None = None
        self._overrides: Mapping[frozenset[str], Distance] | None = None

    def look(self, config: Config) -> Inventory:
        """Read the node once.

        Raises HardwareError when the driver does not answer; the session is given up then, so
        that the next look starts NVML anew. Raises DriverReplacedError when only a new process
        can go on, ConfigError for a locality file that could never be read.
        """
        overrides = self._read_overrides(config)
        try:
            session = self._open(config)
            return observe(session, overrides=overrides, dev_root=self._dev_root(config))
        except DriverReplacedError:
            raise
        except HardwareError:
            self.close()
            raise

    def close(self) -> bool:
        """Let go of the driver; False when a thread is still inside it, and then it is kept."""
        watch, session = self._watch, self._session
        self._watch = self._session = None
        at_rest = watch is None or watch.close()
        if session is not None and at_rest:
            session.close()
        return at_rest

    def _open(self, config: Config) -> Session:
        if self._session is None:
            self._session = Session(self._machine)
        if self._session.is_replaced:
            raise DriverReplacedError(
                "the driver library was replaced while it was loaded; ending, so that a new"
                " process loads the new one"
            )
        every_s = config.plumbline.health.poll_seconds
        if self._watch is None:
            # Before the look, so that nothing falls between the two.
            watch = Watch(self._session, self._notify, look_every_s=every_s)
            watch.dev_root = self._dev_root(config)
            watch.sees_nics = _serves_nics(config)
            watch.start()
            self._watch = watch
        self._watch.look_every_s = every_s
        self._watch.dev_root = self._dev_root(config)
        self._watch.sees_nics = _serves_nics(config)
        return self._session

    def _read_overrides(self, config: Config) -> Mapping[frozenset[str], Distance]:
        try:
            self._overrides = self._read_locality(config.plumbline.locality_file)
        except ConfigError as error:
            # Wrong from the start is refused; broken later must not hide a lost GPU.
            if self._overrides is None:
                raise
            logs.error("locality_refused", error=error, doing="keeping the previous one")
        return self._overrides

    def _read_locality(self, named: str | None) -> Mapping[frozenset[str], Distance]:
        file = self._machine.path(named) if named else self._machine.locality_file
        if named and not file.exists():
            raise ConfigError(
                f"{file}: there is no such locality file; write it (docs/locality.md), or"
                " leave plumbline.localityFile out"
            )
        return locality.read_overrides(file)

    def _dev_root(self, config: Config) -> str:
        # A driver container brings its own /dev; without one the node's is ours too.
        root = config.flags.plugin.container_driver_root
        return root if self._machine.path(f"{root}/dev").is_dir() else "/"


def _serves_nics(config: Config) -> bool:
    return config.plumbline.dra.nics and config.plumbline.mode is not ServingMode.DEVICE_PLUGIN
