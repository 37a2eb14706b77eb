"""The daemon as a process on a simulated machine, with a kubelet stand-in in this one."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from asyncinotify import Inotify, Mask

from agent.simulation import machines
from deviceplugin.standin.kubelet import Kubelet
from deviceplugin.standin.pods import Container, Pod

GPU = "nvidia.com/gpu"
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclass
class Node:
    """One node: a machine, a kubelet, and any number of daemon processes."""

    folder: Path
    kubelet: Kubelet
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def machine(self) -> Path:
        return self.folder / "machine"

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    async def start(self, *flags, env=None, before=""):
        """Start a daemon; its log goes to ``log``.

        ``before`` is Python to run in its process first: to stand in for a driver or a disk
        that behaves as no simulated machine can be made to.
        """
        program = f"{before}\nfrom agent.cli.main import main\nmain()"
        with self.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                program,
                "run",
                *(flags if "--driver-root-ctr-path" in flags else self._on_machine(flags)),
                "--kubelet-dir",
                str(self.kubelet.directory),
                stdout=output,
                stderr=output,
                env={**os.environ, "PLUMBLINE_LOG_LEVEL": "debug", **(env or {})},
            )
        self.processes.append(process)
        return process

    def _on_machine(self, flags):
        return ("--machine", str(self.machine), *flags)

    async def stop(self, process, *, within_s=2.0):
        """Send SIGTERM; return the exit code."""
        process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(process.wait(), within_s)

    async def serving(self, *flags, env=None, before=""):
        """Start a daemon and wait until the kubelet has its devices."""
        process = await self.start(*flags, env=env, before=before)
        devices = asyncio.create_task(self.kubelet.devices(GPU, timeout_s=20))
        died = asyncio.create_task(process.wait())
        await asyncio.wait({devices, died}, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            devices.cancel()
            raise AssertionError(f"the daemon ended: {self.log.read_text()}")
        died.cancel()
        await devices
        return process

    async def logged(self, event):
        """Wait until a daemon has logged an event, as text or as JSON."""
        forms = (f"event={event} ", f"event={event}\n", f'"event": "{event}"')
        await changed(self.folder, lambda: any(f in self.log.read_text() for f in forms))

    async def unhealthy(self, count, *, timeout_s=5.0):
        """Wait until so many devices are unhealthy; return their ids."""
        devices = await self.kubelet.devices(
            GPU, lambda now: sum(not d.healthy for d in now.values()) == count, timeout_s=timeout_s
        )
        return {id_ for id_, device in devices.items() if not device.healthy}

    async def admit(self, name, count):
        """Admit a pod; return the ids it got and what its container is told."""
        pod = Pod(name=name, containers=(Container(name="main", requests={GPU: count}),))
        (allocated,) = await self.kubelet.admit(pod)
        return sorted(allocated.device_ids), allocated.allocation

    def uuid(self, index):
        return machines.look(self.machine).gpus[index].uuid


async def changed(folder, condition, *, timeout_s=10.0):
    """Wait until a condition about the files of a folder holds."""
    with Inotify() as inotify:
        inotify.add_watch(folder, Mask.MODIFY | Mask.CREATE | Mask.MOVED_TO | Mask.DELETE)
        async with asyncio.timeout(timeout_s):
            while not condition():
                await inotify.get()


@contextlib.asynccontextmanager
async def simulated_node(
    profile="dgx-h100", *, rules=None, listening=True, settled=False, memory=MEMORY
):
    """Yield a Node; whatever was started on it is gone afterwards.

    ``profile`` is a shipped one, or the file of a capture. A kubelet that is ``settled`` was
    started long ago. ``memory`` is where the node's files go.
    """
    # Not tmp_path: a unix socket's path has 107 bytes, and memory makes thousands of small
    # files seven times faster than a disk.
    folder = Path(tempfile.mkdtemp(prefix="pl-", dir=memory))
    node = Node(folder, Kubelet(folder / "kubelet", rules=rules))
    try:
        make = machines.import_capture if isinstance(profile, Path) else machines.create
        make(str(profile), node.machine)
        (folder / "kubelet").mkdir()
        if listening:
            await node.kubelet.start()
        if settled:
            long_ago = time.time() - 3600
            os.utime(folder / "pod-resources" / "kubelet.sock", (long_ago, long_ago))
        yield node
    finally:
        for process in node.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await node.kubelet.stop()
        shutil.rmtree(folder)
