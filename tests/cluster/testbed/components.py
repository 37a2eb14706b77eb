"""The components: which versions, how they are built, and where they are kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
DEFAULT_KUBERNETES = "1.36"
OLDEST_KUBERNETES = "1.34"

_KUBERNETES = "k8s.io/kubernetes/cmd"
_VERSION = "k8s.io/component-base/version"
# Storage drivers that nobody uses here and that want headers of their own.
_TAGS = "no_btrfs,no_devmapper,no_zfs"


class ComponentsMissing(Exception):
    """What is missing, and how it is got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One program of the bench."""

    name: str
    package: str
    needs_c: bool = False


_ALWAYS = (
    Component(name="etcd", package="go.etcd.io/etcd/server/v3"),
    Component(name="containerd", package="github.com/containerd/containerd/v2/cmd/containerd"),
    Component(
        name="containerd-shim-runc-v2",
        package="github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    ),
    Component(name="ctr", package="github.com/containerd/containerd/v2/cmd/ctr"),
    Component(name="runc", package="github.com/opencontainers/runc", needs_c=True),
    Component(
        name="loopback", package="github.com/containernetworking/plugins/plugins/main/loopback"
    ),
)
_OF_KUBERNETES = tuple(
    Component(name=name, package=f"{_KUBERNETES}/{name}")
    for name in (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kubectl",
    )
)


@dataclass(frozen=True, slots=True)
class Components:
    """Built programs by name."""

    kubernetes: str
    """The full version, as ``v1.36.3``."""
    paths: dict[str, Path]

    def __getitem__(self, name: str) -> str:
        """Return the path of a program."""
        return str(self.paths[name])

    @property
    def minor(self) -> int:
        """Return the 36 of v1.36.3."""
        return int(self.kubernetes.split(".")[1])


def cache() -> Path:
    """Return the folder in which built components are kept, outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "plumbline" / "cluster"


def find(kubernetes: str = DEFAULT_KUBERNETES) -> Components:
    """Return the built components; raise ComponentsMissing where one is not built."""
    wanted = _wanted(kubernetes)
    missing = [each.component.name for each in wanted if not each.path.exists()]
    if missing:
        raise ComponentsMissing(
            f"not built yet: {', '.join(missing)}; 'make cluster-test' builds what it needs"
        )
    return _components(kubernetes, wanted)


def build(kubernetes: str = DEFAULT_KUBERNETES, *, tell: Callable[[str], None]) -> Components:
    """Build what is not in the cache yet.

    Raises ComponentsMissing with Go's own words where that fails.
    """
    wanted = _wanted(kubernetes)
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        todo = [each for each in wanted if not each.path.exists()]
        if todo:
            _download({each.mod for each in todo}, tell)
        for number, each in enumerate(todo, 1):
            began = time.monotonic()
            tell(f"building {each.component.name} {each.version} ({number} of {len(todo)})")
            each.build()
            tell(f"built {each.component.name} in {time.monotonic() - began:.0f} s")
    return _components(kubernetes, wanted)


@dataclass(frozen=True, slots=True)
class _Wanted:
    component: Component
    mod: Path
    path: Path
    version: str

    def build(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".new")
        _go(
            "build",
            f"-modfile={self.mod.name}",
            f"-tags={_TAGS}",
            f"-ldflags={_ldflags(self)}",
            "-trimpath",
            f"-o={unfinished}",
            self.component.package,
            c=self.component.needs_c,
        )
        unfinished.rename(self.path)


def _wanted(kubernetes: str) -> list[_Wanted]:
    own = HERE / ("go.mod" if kubernetes == DEFAULT_KUBERNETES else f"kubernetes-{kubernetes}.mod")
    if not own.exists():
        known = [DEFAULT_KUBERNETES, *(p.stem.split("-")[1] for p in HERE.glob("kubernetes-*.mod"))]
        raise ComponentsMissing(f"Kubernetes {kubernetes} is not pinned here: {', '.join(known)}")
    return [_want(c, own) for c in _OF_KUBERNETES] + [_want(c, HERE / "go.mod") for c in _ALWAYS]


def _want(component: Component, mod: Path) -> _Wanted:
    text = mod.read_text()
    modules = dict(re.findall(r"^\t(\S+) (v\S+)", text, re.MULTILINE))
    module = max((m for m in modules if component.package.startswith(m)), key=len)
    # A comment that changed is no reason to build for minutes.
    pins = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("//"))
    key = hashlib.sha256((pins + mod.with_suffix(".sum").read_text() + _TAGS).encode())
    folder = cache() / f"{mod.stem}-{key.hexdigest()[:12]}"
    return _Wanted(component, mod, folder / component.name, modules[module])


def _components(kubernetes: str, wanted: list[_Wanted]) -> Components:
    kubelet = next(each for each in wanted if each.component.name == "kubelet")
    return Components(kubelet.version, {each.component.name: each.path for each in wanted})


def _ldflags(wanted: _Wanted) -> str:
    flags = ["-s", "-w"]
    if wanted.component.package.startswith(_KUBERNETES):
        # Without these a component takes itself for a development version of no number.
        major, minor, _ = wanted.version.removeprefix("v").split(".")
        values = {"gitVersion": wanted.version, "gitMajor": major, "gitMinor": minor}
        flags += [f"-X {_VERSION}.{name}={value}" for name, value in values.items()]
    if wanted.component.name == "containerd":
        flags.append(f"-X github.com/containerd/containerd/v2/version.Version={wanted.version}")
    return " ".join(flags)


def _download(mods: set[Path], tell: Callable[[str], None]) -> None:
    for mod in sorted(mods):
        tell(f"downloading the modules of {mod.relative_to(HERE.parents[1])}")
        _go("mod", "download", f"-modfile={mod.name}")


def _go(*arguments: str, c: bool = False) -> None:
    go = shutil.which("go")
    if go is None:
        raise ComponentsMissing("no 'go' on PATH: install Go 1.26 or later")
    done = subprocess.run(
        [go, *arguments],
        cwd=HERE,
        env={**os.environ, "CGO_ENABLED": "1" if c else "0", "GOFLAGS": "-buildvcs=false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-10:])
        raise ComponentsMissing(f"'go {' '.join(arguments)}' failed:\n{last}")
