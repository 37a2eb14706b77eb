"""From a change around the daemon to the right state at the kubelet, against the stand-in."""

import asyncio
import contextlib
import os
import signal
import statistics
import time

from agent.simulation import machines
from bench.node import PROGRAM, simulated_node
from deviceplugin.standin.kubelet import Kubelet
from deviceplugin.standin.pods import Container, Pod

GPU = "nvidia.com/gpu"


async def measure(rounds: int) -> dict[str, object]:
    async with simulated_node() as (folder, bare):
        await bare.stop()
        bare.socket.unlink(missing_ok=True)
        config = folder / "config.yaml"
        config.write_text("version: v1\n")
        async with Kubelet(folder / "kubelet") as kubelet, _daemon(folder, config) as process:
            await kubelet.devices(GPU, timeout_s=20)
            seconds = {
                "kubelet_restarted": await _each(rounds, lambda: _restart(kubelet)),
                "own_socket_deleted": await _each(rounds, lambda: _unlink(kubelet)),
                "stream_ended": await _each(rounds, lambda: _end_stream(kubelet)),
                "configuration_changed": await _each(rounds, lambda: _configure(kubelet, config)),
                "gpu_lost_silently": await _each(rounds, lambda: _lose(kubelet, folder)),
                "stopped": await _stop(process),
            }
    return {"seconds": seconds, "aim": "each under 2", "rounds": rounds}


async def _each(rounds, change):
    return statistics.median([await change() for _ in range(rounds)])


@contextlib.asynccontextmanager
async def _daemon(folder, config):
    with (folder / "daemon.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            "run",
            "--machine",
            str(folder / "machine"),
            "--kubelet-dir",
            str(folder / "kubelet"),
            "--config",
            str(config),
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def _again(kubelet, change):
    """Time a change until the resource is registered again and has all its devices."""
    times = kubelet.registrations.count(GPU)
    began = time.perf_counter()
    await change()
    await kubelet.registered(GPU, times=times + 1, timeout_s=10)
    await kubelet.devices(GPU, lambda now: len(now) == 8, timeout_s=10)
    return time.perf_counter() - began


async def _restart(kubelet):
    return await _again(kubelet, kubelet.restart)


async def _unlink(kubelet):
    async def unlink():
        (kubelet.directory / "nvidia-gpu.sock").unlink()

    return await _again(kubelet, unlink)


async def _end_stream(kubelet):
    return await _again(kubelet, lambda: kubelet.drop_streams(GPU))


async def _configure(kubelet, config):
    """Time a change of the id strategy until an allocation shows it."""
    by_index = "index" not in config.read_text()
    wanted = "index" if by_index else "uuid"
    fresh = config.with_suffix(".new")
    fresh.write_text(f"version: v1\nflags: {{plugin: {{deviceIDStrategy: {wanted}}}}}\n")
    began = time.perf_counter()
    fresh.rename(config)
    for number in range(10_000):
        pod = Pod(name=f"p{number}", containers=(Container(name="c", requests={GPU: 1}),))
        (given,) = await kubelet.admit(pod)
        await kubelet.remove_pod(pod)
        if given.allocation.envs["NVIDIA_VISIBLE_DEVICES"].startswith("GPU-") != by_index:
            return time.perf_counter() - began
    raise RuntimeError("the change of configuration was never followed")


async def _lose(kubelet, folder):
    """Time a loss that the driver does not report until the kubelet sees it."""
    known = await kubelet.devices(GPU)
    lost = sum(not device.healthy for device in known.values())
    began = time.perf_counter()
    machines.lose(folder / "machine", str(lost), silently=True)
    await kubelet.devices(
        GPU, lambda now: sum(not d.healthy for d in now.values()) == lost + 1, timeout_s=10
    )
    return time.perf_counter() - began


async def _stop(process):
    began = time.perf_counter()
    process.terminate()
    if code := await process.wait():
        raise RuntimeError(f"the daemon exited {code}")
    return time.perf_counter() - began
