import asyncio
import os
import signal
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "deviceplugin.standin"]


def test_help_teaches_the_commands():
    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)

    for word in ("--dir", "--policy", "single-numa-node", "admit POD", "restart", "example"):
        assert word in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "--dir"),
        (["--dir", "d", "--distance", "3"], "'3' is no A-B=DISTANCE, as in 0-1=12"),
        (["--dir", "d", "--numa", "zero"], "'zero' is no list of nodes, as in 0,1"),
    ],
)
def test_wrong_arguments_are_named(arguments, fault):
    refused = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)

    assert refused.returncode == 2
    assert fault in refused.stderr


@pytest.fixture
async def standin(directory):
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("--dir", str(directory), "--numa", "0,1", "--policy", "restricted"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


async def said(process, text):
    """Read lines up to one that contains ``text``; return it."""
    async with asyncio.timeout(20):
        while line := (await process.stdout.readline()).decode():
            if text in line:
                return line.strip()
    raise AssertionError(f"the stand-in ended without saying {text!r}")


def tell(process, line):
    process.stdin.write(f"{line}\n".encode())


async def test_a_plugin_is_served_by_hand(standin, bench, devices):
    await said(standin, "listens on")
    bench.run({"nvidia.com/gpu": devices("a", "b", numa=(1,))})
    await said(standin, "nvidia.com/gpu has 2 devices, 2 healthy")

    tell(standin, "admit trainer nvidia.com/gpu=2")
    assert await said(standin, "pod") == (
        "pod default/trainer container main: nvidia.com/gpu = a, b"
    )
    tell(standin, "pods")
    assert await said(standin, "trainer") == "trainer: nvidia.com/gpu = a, b"
    tell(standin, "admit late nvidia.com/gpu=1")
    assert "TopologyAffinityError" in await said(standin, "pod rejected")
    tell(standin, "remove trainer")
    await said(standin, "pod default/trainer removed")
    tell(standin, "restart")
    await said(standin, "nvidia.com/gpu has 2 devices, 2 healthy")
    tell(standin, "node")
    assert await said(standin, "capacity") == "nvidia.com/gpu: capacity 2, allocatable 2"
    tell(standin, "drop nvidia.com/gpu")
    await said(standin, "nvidia.com/gpu has 2 devices, 2 healthy")
    tell(standin, "quit")
    await said(standin, "kubelet stopped")
    assert await standin.wait() == 0


async def test_wrong_commands_are_explained(standin):
    for line, answer in [
        ("dance", "? no such command; try help"),
        ("admit p", "? admit POD RESOURCE=COUNT ..., as in: admit p nvidia.com/gpu=2"),
        ("admit p nvidia.com/gpu=two", "? 'nvidia.com/gpu=two' is no RESOURCE=COUNT"),
        ("remove p", "? remove POD, one of: none yet"),
        ('admit "p', "? No closing quotation"),
    ]:
        tell(standin, line)
        assert (await said(standin, "?")).startswith(answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly(standin, directory, number):
    await said(standin, "listens on")

    os.kill(standin.pid, number)

    await said(standin, "kubelet stopped")
    assert await standin.wait() == 0
    # A kubelet leaves its socket behind.
    assert (directory / "kubelet.sock").is_socket()
