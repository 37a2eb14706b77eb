"""Process 1 of a node's world: lays out its mounts, says so, then collects the dead.

Run inside fresh mount and PID namespaces with one argument, the mounts as JSON. Ends, and
with it everything in the world, when its standard input is closed: when whoever made the
world is gone, however it went.
"""

import json
import os
import select
import signal
import subprocess
import sys


def mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mount {' '.join(arguments)}: {done.stderr.strip()}")


def scratch(path, *, keep):
    """Put an empty folder over ``path``; with ``keep``, all that was in it stays to be seen."""
    kept = os.listdir(path) if keep else []
    behind = os.open(path, os.O_PATH)
    mount("-t", "tmpfs", "-o", "mode=755", "plumbline", path)
    for name in kept:
        source, target = f"/proc/self/fd/{behind}/{name}", f"{path}/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
            continue
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            open(target, "w").close()
        # mount's canonicalising would follow the descriptor's link back under the new folder.
        done = subprocess.run(
            ["mount", "--no-canonicalize", "--rbind", source, target],
            pass_fds=(behind,),
            check=False,
        )
        if done.returncode:
            sys.exit(f"cannot keep {target}")
    os.close(behind)


def main():
    for step in json.loads(sys.argv[1]):
        if step["kind"] == "scratch":
            scratch(step["path"], keep=step["keep"])
        else:
            if not os.path.exists(step["path"]):
                os.makedirs(step["path"])
            mount("--rbind", step["source"], step["path"])
    # Pods may ask for propagation, and the kubelet wants to be able to give it.
    mount("--make-rshared", "/")
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if 0 in readable and not os.read(0, 1):
            return
        if woken in readable:
            os.read(woken, 4096)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


main()
