"""The control group below which a node's pods live, in every hierarchy there is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def hierarchies() -> list[Path]:
    """Return where control groups are mounted (proc_pid_mountinfo(5), field 9 is the type)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            found.append(Path(before.split()[4]))
    return found


def make(name: str) -> None:
    """Make the group; with cgroup v2 its children may use what the root has."""
    for root in hierarchies():
        (root / name).mkdir(exist_ok=True)
        controllers = root / "cgroup.controllers"
        if controllers.exists():
            for controller in controllers.read_text().split():
                with contextlib.suppress(OSError):
                    (root / name / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str) -> None:
    """Remove the group and all below it; nothing may run in it any more."""
    for root in hierarchies():
        for folder, _, _ in os.walk(root / name, topdown=False):
            Path(folder).rmdir()
