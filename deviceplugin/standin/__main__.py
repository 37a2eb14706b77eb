"""Runs the stand-in by hand: ``python -m deviceplugin.standin --dir DIR``."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from deviceplugin.standin.admission import TopologyRules
from deviceplugin.standin.kubelet import Kubelet
from deviceplugin.standin.numa import Numa, Policy
from deviceplugin.standin.pods import AdmissionFailed, Container, KubeletDied, Pod

_DESCRIPTION = """\
Plays the kubelet for device plugins: they register on DIR/kubelet.sock, and pods are
admitted by the rules of the kubelet's device manager and topology manager. No root, no
cluster, no containers. Everything that happens is printed; commands are read from stdin.
"""
_COMMANDS = """\
commands (one a line on stdin):
  admit POD RESOURCE=COUNT ...   give a pod devices, as one container
  remove POD                     free what it holds
  node                           capacity and allocatable, as the node status has them
  pods                           who holds what
  restart                        stop, remove all sockets, listen again; pods keep theirs
  stop, start                    the same in two steps
  drop RESOURCE                  end the streams of one resource
  help, quit

example: two NUMA nodes; a plugin that serves /tmp/dp is started in another terminal
  $ python -m deviceplugin.standin --dir /tmp/dp --numa 0,1 --policy restricted
  nvidia.com/gpu registered on nvidia-gpu.sock
  nvidia.com/gpu has 8 devices, 8 healthy
  admit trainer nvidia.com/gpu=2
"""


class _Usage(Exception):  # noqa: N818  # a message to whoever types
    pass


class _Console:
    """Carries out one command at a time."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet
        self.done = asyncio.Event()
        self._commands: dict[str, Callable[[list[str]], Awaitable[None]]] = {
            "admit": self._admit,
            "remove": self._remove,
            "node": self._node,
            "pods": self._pods,
            "restart": self._restart,
            "stop": self._stop,
            "start": self._start,
            "drop": self._drop,
            "help": self._help,
            "quit": self._quit,
        }

    async def obey(self, line: str) -> None:
        """Carry out a command; say what is wrong with it."""
        try:
            match shlex.split(line, comments=True):
                case [name, *words]:
                    await self._commands.get(name, self._unknown)(words)
        except (_Usage, ValueError) as error:
            _print(f"? {error}")
        except (AdmissionFailed, KubeletDied):
            # The kubelet has told already.
            return

    async def _admit(self, words: list[str]) -> None:
        match words:
            case [name, *requests] if requests:
                container = Container(name="main", requests=dict(map(_request, requests)))
                await self._kubelet.admit(Pod(name=name, containers=(container,)))
            case _:
                raise _Usage("admit POD RESOURCE=COUNT ..., as in: admit p nvidia.com/gpu=2")

    async def _remove(self, words: list[str]) -> None:
        by_name = {pod.name: pod for pod in self._kubelet.pods.values()}
        match words:
            case [name] if name in by_name:
                await self._kubelet.remove_pod(by_name[name])
            case _:
                raise _Usage(f"remove POD, one of: {', '.join(sorted(by_name)) or 'none yet'}")

    async def _node(self, _words: list[str]) -> None:
        allocatable = self._kubelet.allocatable
        for resource, capacity in sorted(self._kubelet.capacity.items()):
            _print(f"{resource}: capacity {capacity}, allocatable {allocatable[resource]}")

    async def _pods(self, _words: list[str]) -> None:
        for pod in self._kubelet.pods.values():
            for held in self._kubelet.allocated(pod):
                _print(f"{pod.name}: {held.resource} = {', '.join(sorted(held.device_ids))}")

    async def _restart(self, _words: list[str]) -> None:
        await self._kubelet.restart()

    async def _stop(self, _words: list[str]) -> None:
        await self._kubelet.stop()

    async def _start(self, _words: list[str]) -> None:
        await self._kubelet.restart()

    async def _drop(self, words: list[str]) -> None:
        for resource in words:
            await self._kubelet.drop_streams(resource)

    async def _help(self, _words: list[str]) -> None:
        _print(_COMMANDS)

    async def _unknown(self, _words: list[str]) -> None:
        raise _Usage("no such command; try help")

    async def _quit(self, _words: list[str]) -> None:
        self.done.set()


def _request(text: str) -> tuple[str, int]:
    resource, _, count = text.partition("=")
    if not count.isdecimal():
        raise _Usage(f"{text!r} is no RESOURCE=COUNT, as in nvidia.com/gpu=2")
    return resource, int(count)


def _distance(text: str) -> tuple[tuple[int, int], int]:
    try:
        pair, value = text.split("=")
        a, b = pair.split("-")
        return (int(a), int(b)), int(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no A-B=DISTANCE, as in 0-1=12") from error


def _nodes(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(node) for node in text.split(",")}))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of nodes, as in 0,1") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deviceplugin.standin",
        description=_DESCRIPTION,
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dir", type=Path, required=True, help="where kubelet.sock is made")
    parser.add_argument(
        "--numa", type=_nodes, default=(0,), metavar="NODES", help="NUMA nodes, as in 0,1 (0)"
    )
    parser.add_argument(
        "--distance",
        type=_distance,
        action="append",
        default=[],
        metavar="A-B=N",
        help="SLIT distance of two nodes (20); may be repeated",
    )
    parser.add_argument(
        "--policy",
        type=Policy,
        choices=list(Policy),
        default=Policy.NONE,
        help="topology manager policy (%(default)s)",
    )
    parser.add_argument(
        "--prefer-closest-numa",
        action="store_true",
        help="among equally many nodes, take those nearest to each other",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="for what a kubelet leaves to chance (0)"
    )
    return parser


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # this is a program that prints


def _read_stdin(line_read: Callable[[str], None]) -> None:
    # In a thread of its own, which may stay blocked until the process ends: stdin may be a
    # terminal, a pipe, a file or nothing, and not all of them can be polled. Unbuffered,
    # because Python wants to lock the buffer of stdin at its exit.
    def read() -> None:
        with open(0, "rb", buffering=0, closefd=False) as stdin:  # a descriptor
            for line in stdin:
                line_read(line.decode(errors="replace"))

    threading.Thread(target=read, daemon=True).start()


async def _obey_stdin(console: _Console) -> None:
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def pass_on(line: str) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    _read_stdin(pass_on)
    while True:
        await console.obey(await lines.get())


async def _run(options: argparse.Namespace) -> None:
    rules = TopologyRules(
        numa=Numa(nodes=options.numa, distances=dict(options.distance)),
        policy=options.policy,
        prefer_closest=options.prefer_closest_numa,
    )
    kubelet = Kubelet(options.dir.absolute(), rules=rules, seed=options.seed, tell=_print)
    console = _Console(kubelet)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, console.done.set)
    async with kubelet:
        reading = asyncio.create_task(_obey_stdin(console))
        try:
            await console.done.wait()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until told to quit."""
    asyncio.run(_run(_parser().parse_args(arguments)))


if __name__ == "__main__":
    main()
