"""Two tiny OCI images, made here from a static busybox: nothing is pulled."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from testbed.components import ComponentsMissing, cache

PAUSE = "plumbline.test/pause:1"
SHELL = "plumbline.test/shell:1"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var")
# Ends at once when told to: a shell as process 1 ignores signals that it has no trap for.
_WAIT = 'trap "exit 0" TERM INT; while :; do sleep 3600 & wait $!; done'


def archive() -> Path:
    """Return an OCI archive with both images, made on first use."""
    busybox = _busybox()
    key = hashlib.sha256(busybox.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
    path = cache() / f"images-{key}.tar"
    if not path.exists():
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(_archive(busybox.read_bytes()))
        unfinished.rename(path)
    return path


def _busybox() -> Path:
    """Return a static busybox: the machine's own, or Debian's package, unpacked but not installed.

    Raises ComponentsMissing where there is neither.
    """
    own = shutil.which("busybox")
    if own is not None and _is_static(Path(own)):
        return Path(own)
    kept = cache() / "busybox"
    if kept.exists():
        return kept
    with tempfile.TemporaryDirectory() as name:
        # apt's download runs as a user of its own.
        Path(name).chmod(0o777)
        try:
            subprocess.run(
                "apt-get download -q busybox-static || "
                "(apt-get update -q && apt-get download -q busybox-static)",
                shell=True,
                cwd=name,
                check=True,
                capture_output=True,
            )
            (package,) = Path(name).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", package, name], check=True, capture_output=True)
            (program,) = Path(name).glob("**/bin/busybox")
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            words = getattr(error, "stderr", b"") or str(error).encode()
            raise ComponentsMissing(
                "no static busybox: put one on PATH (Debian: apt-get install busybox-static)\n"
                + words.decode(errors="replace")
            ) from error
        cache().mkdir(parents=True, exist_ok=True)
        shutil.copy(program, kept.with_suffix(".new"))
        kept.with_suffix(".new").rename(kept)
    return kept


def _is_static(program: Path) -> bool:
    """Return whether a program names no loader (ELF's PT_INTERP)."""
    content = program.read_bytes()
    return content[:4] == b"\x7fELF" and b"/ld-linux" not in content[:4096]


def _archive(busybox: bytes) -> bytes:
    layer = _layer(busybox)
    blobs: dict[str, bytes] = {}
    manifests = []
    for name in (PAUSE, SHELL):
        descriptor = _image(blobs, layer)
        descriptor["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
        manifests.append(descriptor)
    files = {f"blobs/sha256/{digest}": blob for digest, blob in blobs.items()}
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _image(blobs: dict[str, bytes], layer: bytes) -> dict[str, object]:
    packed = gzip.compress(layer, mtime=0)
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh", "-c", _WAIT], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, json.dumps(config).encode(), "config.v1+json"),
        "layers": [_blob(blobs, packed, "layer.v1.tar+gzip")],
    }
    return _blob(blobs, json.dumps(manifest).encode(), "manifest.v1+json")


def _blob(blobs: dict[str, bytes], content: bytes, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    media = f"application/vnd.oci.image.{kind}"
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}


def _layer(busybox: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = len(busybox), 0o755
        tar.addfile(program, io.BytesIO(busybox))
        for applet in ("sh", "sleep", "cat", "ls", "env", "stat", "true", "false", "echo", "test"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()
