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
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.ledger.ledger import Account
from agent.telemetry import logs

# The kubelet does not list what only init containers hold, nor, just started, what it has yet to
# learn of. What it never told of is kept so long.
UNTOLD_S = 600.0


class NicGrant(Struct, kw_only=True):
    """The NICs of one container."""

    nics: tuple[str, ...]
    path: Path | None
    since_s: float
    """When it was given, or found on disk; on the caller's monotonic clock."""
    told_by: str | None = None
    """The kubelet that has listed its devices."""
    over: bool = False
    """Its devices were given again: its NICs are nobody's, its file may still be mounted."""


class NicGrants:
    """The NICs of every container that has some; files are written whole or not at all."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Start with none; ``load`` adds those of earlier instances."""
        self._claimed: frozenset[str] = frozenset()
        self._now_s = now_s
        self._grants: dict[frozenset[str], NicGrant] = {}

    def load(self, folder: Path) -> None:
        """Take in the summaries of a folder. Blocking; one that cannot be read is left alone."""
        for path in sorted(folder.glob("*.json")):
            try:
                document = json.loads(path.read_bytes())
                devices = frozenset(map(str, document["devices"]))
                nics = tuple(str(nic["name"]) for nic in document["nics"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                logs.warning("summary_unreadable", path=path, reason=error, doing="leaving it")
                continue
            self._grants.setdefault(devices, NicGrant(nics=nics, path=path, since_s=self._now_s()))

    def taken(self, *, besides: Collection[str] = ()) -> Mapping[str, int]:
        """Return how many containers have each NIC, but for those that held ``besides``.

        A device that is given now belongs to nobody else any more.
        """
        if not self._grants:
            return {}
        return Counter(
            nic
            for devices, grant in self._grants.items()
            if not grant.over and devices.isdisjoint(besides)
            for nic in grant.nics
        )

    @property
    def claimed(self) -> frozenset[str]:
        """Return the NICs that ResourceClaims have: no container gets them with GPUs."""
        return self._claimed

    def claim(self, nics: frozenset[str]) -> None:
        """Take in which NICs ResourceClaims have."""
        self._claimed = nics

    def occupied(self, *, besides: Collection[str] = ()) -> Collection[str]:
        """Return the NICs that are not free: those that are taken, and those that claims have."""
        return {*self.taken(besides=besides), *self._claimed}

    def grant(self, folder: Path, document: Mapping[str, Any], nics: Sequence[str]) -> Path:
        """Write a container's summary and count its NICs as taken; return the file.

        Raises OSError when it cannot be written; the NICs are taken all the same.
        """
        devices = frozenset(map(str, document["devices"]))
        for other, grant in self._grants.items():
            # The kubelet allocates all containers of a pod before it starts the first: the file
            # of an init container whose GPUs go on to another one is yet to be mounted.
            grant.over = grant.over or not other.isdisjoint(devices)
        path = folder / f"{_name(devices)}.json"
        self._grants[devices] = NicGrant(nics=tuple(nics), path=path, since_s=self._now_s())
        _write(path, json.dumps(document, indent=2).encode() + b"\n")
        return path

    def confirmed(self, account: Account) -> None:
        """Forget what no container holds any more.

        That is so when the kubelet that has listed the devices lists them no longer. One that
        never has may not know yet, or never tell: it is believed after ``UNTOLD_S``.
        """
        listed = {each.device for each in account.held}
        for devices, grant in list(self._grants.items()):
            if devices <= listed:
                grant.told_by = account.kubelet
            elif grant.since_s > account.asked_s:
                continue
            elif grant.told_by == account.kubelet or self._is_untold(grant, account):
                self._forget(devices)

    def _is_untold(self, grant: NicGrant, account: Account) -> bool:
        return account.settled and account.asked_s - grant.since_s > UNTOLD_S

    def _forget(self, devices: frozenset[str]) -> None:
        grant = self._grants.pop(devices)
        if grant.path is not None:
            with contextlib.suppress(OSError):
                grant.path.unlink()


def _name(devices: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(devices)).encode()).hexdigest()[:32]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        scratch.write_bytes(content)
        scratch.chmod(0o644)  # whoever the container runs as
        with contextlib.suppress(NotADirectoryError, FileNotFoundError):
            # What a runtime makes where the file that it is to mount is missing.
            path.rmdir()
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    # The kubelet waits for the answer, and a disk may take its time.
    threading.Thread(target=_sync, args=(path,), name="sync-summary", daemon=True).start()


def _sync(path: Path) -> None:
    """Bring a file and its name to the disk, so that it outlives a power cut."""
    for each in (path, path.parent):
        with contextlib.suppress(OSError):
            descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
