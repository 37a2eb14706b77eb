"""What the machine must have before anything is started."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from testbed import cgroups

_PROGRAMS = {
    "go": "install Go 1.26 or later",
    "cc": "install a C compiler (Debian: apt-get install gcc), for runc",
    "unshare": "install util-linux",
    "nsenter": "install util-linux",
    "mount": "install mount (Debian: apt-get install mount)",
}


def missing() -> list[str]:
    """Return what is missing, each with what to do about it; nothing on a machine that fits."""
    if platform.system() != "Linux":
        return [f"Linux: this is {platform.system()}"]
    found = [f"'{name}' on PATH: {cure}" for name, cure in _PROGRAMS.items() if not _has(name)]
    if os.geteuid() != 0:
        return [*found, "root: containerd and the kubelet mount, and make control groups"]
    if not found and (refusal := _refusal("unshare", "--mount", "--pid", "--fork", "true")):
        found.append(f"the right to make namespaces (CAP_SYS_ADMIN): {refusal}")
    groups = cgroups.hierarchies()
    if not groups:
        found.append("control groups: nothing of type cgroup or cgroup2 is mounted")
    found += [f"writable control groups: {g}" for g in groups if not os.access(g, os.W_OK)]
    if not _has_default_route():
        found.append("a default route: without one the kubelet finds no address for its node")
    return found


def _has(program: str) -> bool:
    return shutil.which(program) is not None


def _refusal(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def _has_default_route() -> bool:
    # The second column of /proc/net/route is the destination; all zero is the default.
    lines = Path("/proc/net/route").read_text().splitlines()[1:]
    return any(line.split()[1] == "00000000" for line in lines)
