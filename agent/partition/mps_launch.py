"""Becomes an MPS control daemon that outlives whoever started it.

A program of its own, run by ``mps_daemon``: what it changes of itself before it becomes the
daemon must not happen to the agent. Arguments: the log to write to, the daemon's /dev/shm, the
driver's root as the agent sees it and as the host does, and the command.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_NEW_MOUNTS = 0x20000  # CLONE_NEWNS (sched.h)
_BIND, _PRIVATE_BELOW = 0x1000, 0x4000 | 0x40000  # MS_BIND; MS_REC | MS_PRIVATE (sys/mount.h)
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = _CGROUPS / "plumbline-mps"


def main(arguments: list[str]) -> None:
    """Become the daemon; the process that was started returns at once."""
    log, shm, root, host_root, *command = arguments
    if os.fork():
        return
    os.setsid()
    os.chdir("/")
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        # Without root a driver lets nobody set a GPU up for MPS: this is a simulated machine.
        if os.geteuid() == 0:
            if _leave_container():
                command[0] = _on_host(command[0], root, host_root)
                libraries = os.environ.get("LD_LIBRARY_PATH", "")
                os.environ["LD_LIBRARY_PATH"] = _on_host(libraries, root, host_root)
            # A simulated machine that lies in /dev/shm itself would vanish below it.
            if not command[0].startswith("/dev/shm/"):  # noqa: S108 - see above
                _use_as_shm(shm)
        os.execv(command[0], command)  # noqa: S606 - the driver's own program, no shell
    except OSError as error:
        sys.stderr.write(f"cannot become {command[0]}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def _leave_container() -> bool:
    """Move to the host's mounts and out of the container's cgroup; return whether in one.

    What remains in the cgroup of a container ends with it. Without ``hostPID`` there is no way
    out, and the daemon ends with the agent's container.
    """
    try:
        if Path("/proc/1/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
            return False
    except PermissionError:  # the first process is not ours to look at: a container without rights
        return False
    for kind in ("cgroup", "mnt"):
        namespace = os.open(f"/proc/1/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        _checked("setns", namespace, 0)
        os.close(namespace)
    try:
        _OWN_CGROUP.mkdir(exist_ok=True)
        (_OWN_CGROUP / "cgroup.procs").write_text("0")
    except OSError as error:
        sys.stderr.write(f"staying in the agent's cgroup, and ending with it: {error}\n")
    return True


def _use_as_shm(folder: str) -> None:
    _checked("unshare", _NEW_MOUNTS)
    _checked("mount", b"none", b"/", None, ctypes.c_ulong(_PRIVATE_BELOW), None)
    _checked("mount", folder.encode(), b"/dev/shm", None, ctypes.c_ulong(_BIND), None)


def _checked(name: str, *arguments: object) -> None:
    """Call the C library. Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _on_host(path: str, root: str, host_root: str) -> str:
    if path == root or path.startswith(root.rstrip("/") + "/"):
        return host_root.rstrip("/") + "/" + path[len(root.rstrip("/")) :].lstrip("/")
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
