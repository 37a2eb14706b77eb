"""CDI specifications of claims: a file for each, there as long as the claim is prepared.

Names are those of NVIDIA's driver.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from agent.model.errors import HardwareError
from agent.partition.written import forget, read_file
from agent.planning import cdi
from agent.serving.cdi_files import write_passing_file
from agent.serving.claim_store import StoredClaim, StoredDevice


def claim_device(driver: str, uid: str, device: StoredDevice) -> str:
    """Return the qualified CDI name of a claim's device."""
    return f"{_kind(driver)}={_name(uid, device)}"


class ClaimSpecs:
    """The Stage that tells container runtimes what a claim has."""

    def __init__(
        self,
        folder: Path,
        driver: str,
        *,
        nodes: Callable[[StoredDevice], tuple[str, ...]],
        around: Callable[[], cdi.Surroundings],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        """``nodes`` returns the device nodes of a device; raises HardwareError without any.

        ``around`` returns what every container of the driver gets.
        """
        self._folder = folder
        self._driver = driver
        self._nodes = nodes
        self._around = around
        self._in_thread = in_thread

    def acts(self, claim: StoredClaim, document: Mapping[str, Any]) -> bool:  # noqa: ARG002 - a Stage
        """Return False: a specification that nobody was told of can be swept."""
        return False

    async def prepare(self, claim: StoredClaim, document: Mapping[str, Any]) -> StoredClaim:  # noqa: ARG002 - a Stage
        """Write the specification of a claim: device nodes may have other numbers by now."""
        await self._write(claim)
        return claim

    async def renew(self, claim: StoredClaim) -> None:
        """Write the specification again where somebody has taken it away."""
        if not await self._in_thread(self._path(claim.uid).is_file):
            await self._write(claim)

    async def given(self, uid: str) -> frozenset[str]:
        """Return what a claim was given, as its specification says."""
        found: frozenset[str] = await self._in_thread(
            devices_given, self._folder, self._driver, uid
        )
        return found

    async def _write(self, claim: StoredClaim) -> None:
        devices = [
            cdi.ClaimedDevice(
                name=_name(claim.uid, each),
                nodes=self._nodes(each),
                env=each.env,
                mounts=each.mounts,
                files=each.files,
            )
            for each in claim.devices
        ]
        document = cdi.claim_spec(_kind(self._driver), devices, self._around())
        await self._in_thread(write_passing_file, self._path(claim.uid), cdi.encode(document))

    async def release(self, claim: StoredClaim) -> None:
        """Remove the specification of a claim."""
        await self.forget(claim.uid)

    async def forget(self, uid: str) -> None:
        """Remove the specification of a claim of which nothing else is known."""
        await self._in_thread(forget, self._path(uid))

    async def sweep(self, known: Collection[str]) -> None:
        """Remove the specifications of claims that are not known."""
        await self._in_thread(self._sweep, known)

    def _sweep(self, known: Collection[str]) -> None:
        for path in self._folder.glob(self._path("*").name):
            if path.stem.rpartition("_")[2] not in known:
                forget(path)

    def _path(self, uid: str) -> Path:
        return _path(self._folder, self._driver, uid)


def devices_given(folder: Path, driver: str, uid: str) -> frozenset[str]:
    """Return what a claim was given, as its specification in a folder says: names of devices,
    each with its share; none where there is no specification that can be read.

    Blocking.
    """
    try:
        content = read_file(_path(folder, driver, uid))
        devices = [] if content is None else json.loads(content)["devices"]
        return frozenset(str(each["name"]).removeprefix(f"{uid}-") for each in devices)
    except (HardwareError, ValueError, KeyError, TypeError):
        return frozenset()


def _path(folder: Path, driver: str, uid: str) -> Path:
    return folder / f"{_vendor(driver)}-claim_{uid}.json"


def _vendor(driver: str) -> str:
    return f"k8s.{driver}"


def _kind(driver: str) -> str:
    return f"{_vendor(driver)}/claim"


def _name(uid: str, device: StoredDevice) -> str:
    # Two shares of one device in one claim are two devices to a runtime.
    share = f"-{device.share_id}" if device.share_id else ""
    return f"{uid}-{device.device}{share}"
