"""The bench itself: what it says where it cannot run, and what it leaves behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from testbed import cgroups
from testbed.cluster import PREFIX, booted, sweep
from testbed.prerequisites import missing

HERE = Path(__file__).parent
PREPARE = [sys.executable, "-m", "testbed", "prepare"]
SKIPPED = 77


def prepare(env, *before):
    paths = f"{HERE}:{HERE.parents[1]}"
    return subprocess.run(
        [*before, *PREPARE],
        env={"HOME": "/nowhere", **env, "PYTHONPATH": paths},
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_this_machine_has_what_it_takes():
    assert missing() == []


def test_without_a_program_it_says_which_and_how_to_get_it(tmp_path):
    for program in ("cc", "unshare", "nsenter", "mount"):
        (tmp_path / program).symlink_to(shutil.which(program))

    done = prepare({"PATH": str(tmp_path)})

    assert done.returncode == SKIPPED
    assert "cluster tests skipped, because this machine lacks" in done.stderr
    assert "'go' on PATH: install Go 1.26 or later" in done.stderr
    assert "'cc'" not in done.stderr


def test_without_root_it_says_so():
    # Python itself must be readable for nobody; it may lie below root's home.
    code = f"import sys; sys.path[:0] = {[str(HERE), str(HERE.parents[1])]!r}; import os; "
    code += "os.geteuid = lambda: 1000; from testbed.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "prepare"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == SKIPPED
    assert "root: containerd and the kubelet mount, and make control groups" in done.stderr


def test_without_network_it_says_what_could_not_be_had(tmp_path):
    env = {
        "PATH": os.environ["PATH"],
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GOMODCACHE": str(tmp_path / "modules"),
        "GOCACHE": str(tmp_path / "build"),
        "GOPROXY": "off",
    }
    done = prepare(env)

    assert done.returncode == SKIPPED
    assert "a component cannot be had: 'go mod download" in done.stderr
    assert "module lookup disabled by GOPROXY=off" in done.stderr


def processes_of(folder):
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # one that is just ending
            if str(folder) in " ".join(process.cmdline()):
                found.append(process)
    return found


def left_of(folder):
    """Everything on this machine that still has to do with a node's folder."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if folder.name in line]
    groups = [root / folder.name for root in cgroups.hierarchies() if (root / folder.name).exists()]
    return processes_of(folder), mounts, groups, folder.exists()


NOTHING = ([], [], [], False)


def test_the_end_of_a_node_leaves_nothing(built):
    var_run = set(Path("/run").iterdir()), set(Path("/var/lib").iterdir())
    with booted(built, profile="t4-4x") as second:
        second.serve(offers={"nvidia.com/gpu": 4})
        second.pod("p", gpus=4).wait_running()
        folder = second.folder
        assert left_of(folder)[0]

    assert left_of(folder) == NOTHING
    assert (set(Path("/run").iterdir()), set(Path("/var/lib").iterdir())) == var_run


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_bench_that_is_ended_takes_its_node_with_it(built, number):
    up = subprocess.Popen(
        [sys.executable, "-m", "testbed", "up", "--profile=t4-4x"],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with up, contextlib.ExitStack() as stack:
        stack.callback(up.kill)
        line = next(line for line in up.stdout if "export KUBECONFIG=" in line)
        folder = Path(line.partition("=")[2].strip()).parents[1]
        assert folder.name.startswith(PREFIX)
        running = processes_of(folder)
        assert len(running) > 5

        up.send_signal(number)
        up.wait(30)

    # Without anybody to end them: their world went with the process that held it.
    gone, alive = psutil.wait_procs(running, timeout=20)
    assert (len(gone), alive) == (len(running), [])
    sweep()
    assert left_of(folder) == NOTHING
