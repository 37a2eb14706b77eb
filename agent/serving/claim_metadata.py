"""The Stage that tells the containers of a claim about its devices, in files (KEP-5304)."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent.model.errors import HardwareError
from agent.planning.device_metadata import (
    POD_CLAIM,
    DescribedClaim,
    DescribedDevice,
    container_path,
    encode_metadata,
)
from agent.planning.dra_devices import Value, Version
from agent.serving.cdi_files import write_passing_file
from agent.serving.claim_store import StoredClaim, StoredDevice

Attributes = Mapping[str, Value | Version]


class ClaimMetadata:
    """Writes a file for each request of a claim, which its CDI specification mounts."""

    def __init__(
        self,
        folder: Path,
        driver: str,
        *,
        wanted: Callable[[], bool],
        attributes: Callable[[str], Attributes],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        """``folder`` is as the host has it.

        ``wanted`` says whether claims get files from now on, and ``attributes`` what the
        scheduler is told of a device, by its name.
        """
        self._folder = folder
        self._driver = driver
        self._wanted = wanted
        self._attributes = attributes
        self._in_thread = in_thread

    def acts(self, claim: StoredClaim, document: Mapping[str, Any]) -> bool:  # noqa: ARG002 - a Stage
        """Return False: files that nobody was told of can be swept."""
        return False

    async def prepare(self, claim: StoredClaim, document: Mapping[str, Any]) -> StoredClaim:
        """Write the files of a claim, where they are wanted."""
        if not self._wanted():
            return claim
        annotations = document["metadata"].get("annotations") or {}
        claim = replace(claim, pod_claim=annotations.get(POD_CLAIM))
        described = _described(claim)
        devices = []
        for each in claim.devices:
            inside = container_path(described, each.request, self._driver)
            file = {inside: str(self._path(claim.uid, each.request))}
            devices.append(replace(each, files=file))
        claim = replace(claim, devices=tuple(devices))
        await self._write(claim)
        return claim

    async def renew(self, claim: StoredClaim) -> None:
        """Write the files again where somebody has taken one away."""
        files = [Path(path) for each in claim.devices for path in each.files.values()]
        if files and not await self._in_thread(_are_there, files):
            await self._write(claim)

    async def release(self, claim: StoredClaim) -> None:
        """Remove the files of a claim, also where it does not say yet that it has any."""
        await self.forget(claim.uid)

    async def forget(self, uid: str) -> None:
        """Remove the files of a claim of which nothing else is known. Raises HardwareError."""
        await self._in_thread(_remove, self._folder / uid)

    async def given(self, uid: str) -> frozenset[str]:  # noqa: ARG002 - a FileStage
        """Return nothing: the specification says it."""
        return frozenset()

    async def sweep(self, known: Collection[str]) -> None:
        """Remove the files of claims that are not known. Raises HardwareError."""
        await self._in_thread(self._sweep, known)

    async def _write(self, claim: StoredClaim) -> None:
        by_request: dict[str, dict[str, list[DescribedDevice]]] = {}
        for each in claim.devices:
            whole = each.request if each.subrequest is None else f"{each.request}/{each.subrequest}"
            described = self._describe(each)
            by_request.setdefault(each.request, {}).setdefault(whole, []).append(described)
        contents = {
            self._path(claim.uid, request): encode_metadata(_described(claim), devices)
            for request, devices in by_request.items()
        }
        await self._in_thread(_write_all, contents)

    def _describe(self, device: StoredDevice) -> DescribedDevice:
        attributes = self._attributes(device.device)
        if len(device.uuids) == 1 and device.gpus:
            # An instance that was made for the claim has one only since then.
            attributes = {**attributes, "uuid": device.uuids[0]}
        return DescribedDevice(
            driver=self._driver, pool=device.pool, name=device.device, attributes=attributes
        )

    def _path(self, uid: str, request: str) -> Path:
        return self._folder / uid / f"{request}.json"

    def _sweep(self, known: Collection[str]) -> None:
        for path in self._folder.glob("*"):
            if path.name not in known:
                _remove(path)


def _described(claim: StoredClaim) -> DescribedClaim:
    return DescribedClaim(
        namespace=claim.namespace, name=claim.name, uid=claim.uid, pod_claim=claim.pod_claim
    )


def _are_there(files: Collection[Path]) -> bool:
    return all(each.is_file() for each in files)


def _write_all(contents: Mapping[Path, bytes]) -> None:
    for path, content in contents.items():
        write_passing_file(path, content)


def _remove(folder: Path) -> None:
    try:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HardwareError(f"{folder}: {error.strerror or error}") from error
