"""Which container was given which NICs: the summaries on disk, and what follows from them.

A summary is both what the container reads and what tells, after a restart of the agent, that
its NICs are taken. It lies on the host's disk, because the kubelet mounts it again, without
asking, whenever it starts the container again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.ledger.ledger import Ledger
from agent.telemetry import logs


class NicGrants:
    """The NICs of every container that has some; files are written whole or not at all."""

    def __init__(self) -> None:
        """Start with none; ``load`` adds those of earlier instances."""
        self._nics: dict[frozenset[str], tuple[str, ...]] = {}
        self._files: dict[frozenset[str], Path] = {}

    def load(self, folder: Path) -> None:
        """Take in the summaries of a folder. Blocking; one that cannot be read is left alone."""
        for path in sorted(folder.glob("*.json")):
            try:
                document = json.loads(path.read_bytes())
                devices = frozenset(document["devices"])
                nics = tuple(str(nic["name"]) for nic in document["nics"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                logs.warning("summary_unreadable", path=path, reason=error, doing="leaving it")
                continue
            self._nics.setdefault(devices, nics)
            self._files.setdefault(devices, path)

    def taken(self, *, besides: Collection[str] = ()) -> Mapping[str, int]:
        """Return how many containers have each NIC, but for those that held ``besides``.

        A device that is given now belongs to nobody else any more.
        """
        return Counter(
            nic
            for devices, nics in self._nics.items()
            if devices.isdisjoint(besides)
            for nic in nics
        )

    def grant(self, folder: Path, document: Mapping[str, Any], nics: Sequence[str]) -> Path:
        """Write a container's summary and count its NICs as taken; return the file.

        Raises OSError when it cannot be written; the NICs are taken all the same.
        """
        devices = frozenset(document["devices"])
        for other in [each for each in self._nics if not each.isdisjoint(devices)]:
            if other != devices:
                self._forget(other)
        self._nics[devices] = tuple(nics)
        path = folder / f"{_name(devices)}.json"
        self._files[devices] = path
        _write(path, json.dumps(document, indent=2).encode() + b"\n")
        return path

    def confirmed(self, ledger: Ledger, *, settled: bool) -> None:
        """Forget what no container holds any more, once the kubelet knows all of its pods."""
        if not settled or not self._nics:
            return
        held = ledger.devices()
        for devices in [each for each in self._nics if not each <= held]:
            self._forget(devices)

    def _forget(self, devices: frozenset[str]) -> None:
        del self._nics[devices]
        path = self._files.pop(devices, None)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def _name(devices: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(devices)).encode()).hexdigest()[:32]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        scratch.write_bytes(content)
        scratch.chmod(0o644)  # whoever the container runs as
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
