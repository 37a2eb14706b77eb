"""How an MPS daemon leaves the agent's container, with namespaces for a host and a container."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_IN_HOST = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--propagation=private")


def _may_unshare():
    return (
        os.geteuid() == 0
        and not subprocess.run([*_IN_HOST, "true"], capture_output=True, check=False).returncode
    )


needs_root = pytest.mark.skipif(not _may_unshare(), reason="needs root and CAP_SYS_ADMIN")

# The host has what the daemon is to find; the container has other files in the same places. What
# is launched waits for nobody: the host lives until its word is there.
_HOST = """
set -e
mount -t tmpfs none /sys/fs/cgroup
mount -t tmpfs none {seen}
touch {seen}/host
cp {program} {seen}/program
{container}
until test -s {log} && grep -q done {log}; do sleep 0.02; done
ls /sys/fs/cgroup
cat /sys/fs/cgroup/plumbline-mps/cgroup.procs
"""
_CONTAINER = """
set -e
mount -t tmpfs none {seen}
mkdir {seen}/root
cp {program} {seen}/root/program
touch {seen}/container
{launch}
"""
_PROGRAM = """#!/bin/sh
ls {seen}
ls /dev/shm
echo "libraries $LD_LIBRARY_PATH arguments $*"
echo done
"""


@needs_root
@pytest.mark.parametrize("contained", [True, False])
def test_a_daemon_runs_on_the_host_with_shared_memory_of_its_own(tmp_path, contained):
    seen, shm, log = tmp_path / "seen", tmp_path / "shm", tmp_path / "log"
    for folder in (seen, shm):
        folder.mkdir()
    (shm / "shared-memory").touch()
    program = tmp_path / "program"
    program.write_text(_PROGRAM.format(seen=seen))
    program.chmod(0o755)
    root = seen / "root" if contained else seen
    launch = [
        *(sys.executable, "-m", "agent.partition.mps_launch", log, shm, root, seen),
        *(root / "program", "-f"),
    ]
    words = " ".join(map(str, launch))
    inner = _CONTAINER.format(seen=seen, program=program, launch=words)
    outer = _HOST.format(
        seen=seen,
        program=program,
        log=log,
        container=f"unshare --mount sh -c '{inner}'" if contained else words,
    )

    done = subprocess.run(
        [*_IN_HOST, "sh", "-c", outer],
        env={**os.environ, "LD_LIBRARY_PATH": f"{root}/lib"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    said = log.read_text()
    assert done.returncode in (0, 1), done.stderr
    assert "host\n" in said, said + done.stderr
    assert "container" not in said.replace("staying", "")
    assert "shared-memory" in said
    assert f"libraries {seen}/lib arguments -f" in said
    assert ("plumbline-mps" in done.stdout) == contained
