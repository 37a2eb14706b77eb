"""A simulated node for benchmarks: machine, bare kubelet, daemon process."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc.aio

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api

PROGRAM = str(Path(sys.executable).parent / "plumbline")


class Kubelet:
    """The least a kubelet can be: takes registrations and remembers when they came."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "kubelet.sock"
        self.registered: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._server = grpc.aio.server()
        rpc.serve_registration(self._server, rpc.REGISTER.served(self._register))
        self._server.add_insecure_port(rpc.target(self.socket))
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)

    async def _register(self, request: api.RegisterRequest, _context: object) -> api.Empty:
        self.registered.put_nowait((request.endpoint, time.perf_counter()))
        return api.Empty()


@contextlib.asynccontextmanager
async def simulated_node(profile: str = "dgx-h100"):
    """Yield a folder with a machine in it and a directory for a kubelet."""
    folder = Path(tempfile.mkdtemp(prefix="pb-"))
    kubelet = Kubelet(folder / "kubelet")
    try:
        (folder / "kubelet").mkdir()
        run("machine", "create", profile, str(folder / "machine"))
        await kubelet.start()
        yield folder, kubelet
    finally:
        await kubelet.stop()
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def daemon(folder: Path, kubelet: Kubelet, *flags: str):
    """Start the daemon; yield its pid, its plugin socket and how long the start took (s)."""
    log = (folder / "daemon.log").open("ab")
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "run",
        "--machine",
        str(folder / "machine"),
        "--kubelet-dir",
        str(folder / "kubelet"),
        *flags,
        # As it runs on a node: every placement and allocation is logged.
        stderr=log,
    )
    try:
        endpoint, moment = await asyncio.wait_for(kubelet.registered.get(), 30)
        yield process.pid, folder / "kubelet" / endpoint, moment - began
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 10)
        log.close()


def run(*arguments: str) -> None:
    subprocess.run([PROGRAM, *arguments], check=True, stdout=subprocess.DEVNULL)
