"""A running agent says what it decided, and why, to who asks on its socket."""

import asyncio
import json
import socket
import stat
import sys
from pathlib import Path

import pytest
from daemon_process import GPU, changed, simulated_node

from agent.cli.running_agent import NoAgentError, ask, socket_of
from agent.model.errors import ConfigError
from deviceplugin.files import identify_socket
from deviceplugin.standin.pods import Container, Pod

PLUMBLINE = Path(sys.executable).with_name("plumbline")


def pod(name, count):
    return Pod(name=name, containers=(Container(name="main", requests={GPU: count}),))


async def decisions(node, **question):
    return await asyncio.to_thread(ask, socket_of(node.machine, None), ask="decisions", **question)


async def named(node, name):
    """The decisions for a pod, once the kubelet has said that it is its."""
    whole = f"pod={name if '/' in name else f'default/{name}'}\n"
    await changed(node.folder, lambda: whole in node.log.read_text())
    return await decisions(node, pod=name)


def raw(path, line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(line)
        with connection.makefile("rb") as answers:
            return json.loads(answers.readline())


async def plumbline(node, *arguments):
    process = await asyncio.create_subprocess_exec(
        PLUMBLINE, *arguments, "--machine", node.machine, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_every_pod_is_explained_by_its_name():
    async with simulated_node() as node:
        await node.serving()
        ids, _ = await node.admit("trainer", 2)
        await node.admit("rest", 6)

        (trainer,) = await named(node, "default/trainer")
        (rest,) = await named(node, "rest")

    assert sorted(trainer["devices"]) == ids
    assert trainer["answer"]["explanation"]["limiting_path"] == "NV18"
    assert (trainer["offered"], trainer["quality"]) == (8, "best")
    assert len(rest["answer"]["gpus"]) == 6
    assert rest["free"] == sorted(set(range(8)) - set(trainer["answer"]["gpus"]))


async def test_the_command_says_it_in_words_and_as_json():
    async with simulated_node() as node:
        await node.serving()
        code, out, err = await plumbline(node, "explain")
        assert (code, out) == (2, "")
        assert err == "error: the agent has decided nothing since it started\n"

        await node.admit("trainer", 2)
        await named(node, "trainer")
        words = await plumbline(node, "explain", "trainer")
        as_json = await plumbline(node, "explain", "last", "-o", "json")
        unknown = await plumbline(node, "explain", "nobody")

    lines = words[1].splitlines()
    assert words[0] == 0
    assert lines[0].endswith("nvidia.com/gpu for default/trainer")
    assert lines[1].startswith("2 of 8 that the kubelet offered; free were GPUs 0 1 2 3 4 5 6 7")
    assert lines[-1] == "best: no better set was free on the node"
    assert json.loads(as_json[1])[0]["pod"] == "default/trainer"
    assert unknown[0] == 2
    assert unknown[2].startswith("error: nothing is known of pod 'nobody': ")


async def test_gpus_of_a_pod_that_ended_count_as_free_as_soon_as_the_kubelet_offers_them():
    async with simulated_node() as node:
        await node.serving()
        first = pod("first", 4)
        await node.kubelet.admit(first)
        await named(node, "first")
        await node.kubelet.remove_pod(first)

        await node.admit("second", 1)

        (second,) = await named(node, "second")
        assert second["free"] == [*range(8)]


async def test_what_is_free_is_known_without_the_kubelet_asking():
    async with simulated_node() as node:
        await node.serving()
        given, _ = await node.admit("trainer", 3)

        answer = await asyncio.to_thread(ask, socket_of(node.machine, None), ask="node")

        assert len(answer["free_gpus"]) == 5
        held = {d["id"] for d in answer["resources"][GPU] if d["held"]}
        assert held == set(given)


async def test_only_root_may_ask_and_the_socket_goes_with_the_agent():
    async with simulated_node() as node:
        daemon = await node.serving()
        path = socket_of(node.machine, None)

        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await node.stop(daemon) == 0
        assert not path.exists()
        with pytest.raises(
            NoAgentError, match=r"no agent answers at .* is `plumbline run` running"
        ):
            ask(path, ask="decisions")


async def test_a_killed_agents_socket_is_taken_over_and_nonsense_is_refused():
    async with simulated_node() as node:
        daemon = await node.serving()
        daemon.kill()
        await daemon.wait()
        path = socket_of(node.machine, None)
        left = identify_socket(path)
        await node.serving()
        await changed(path.parent, lambda: identify_socket(path) not in (left, None))

        with pytest.raises(ConfigError, match=r"'weather'; what can be asked is claims, decisions"):
            await asyncio.to_thread(ask, path, ask="weather")
        with pytest.raises(ConfigError, match=r"last is 'all', not int"):
            await asyncio.to_thread(ask, path, ask="decisions", last="all")
        answer = await asyncio.to_thread(raw, path, b"[1]\n")
        assert answer == {"error": "a question is a JSON object on one line"}


async def test_an_agent_that_cannot_have_a_socket_serves_all_the_same():
    async with simulated_node() as node:
        (node.machine / "blocked").write_text("a file where a folder is wanted")

        await node.serving("--socket", "/blocked/agent.sock")
        await node.logged("local_socket_unusable")

        assert len((await node.admit("trainer", 2))[0]) == 2


async def test_a_file_that_is_no_socket_is_left_alone():
    async with simulated_node() as node:
        precious = node.machine / "precious"
        precious.write_text("yes")

        daemon = await node.serving("--socket", "/precious")
        await node.logged("local_socket_unusable")
        await node.stop(daemon)

        assert precious.read_text() == "yes"


async def test_a_socket_may_be_done_without():
    async with simulated_node() as node:
        await node.serving("--socket", "")

        assert not socket_of(node.machine, None).exists()


async def test_what_if_may_start_from_the_node_as_it_is():
    async with simulated_node() as node:
        await node.serving()
        await node.admit("trainer", 3)
        now = await asyncio.to_thread(ask, socket_of(node.machine, None), ask="node")
        _, place, _ = await plumbline(node, "place", "5", "--live", "-o", "json")
        code, _, too_many = await plumbline(node, "place", "6", "--live")
        _, fit, _ = await plumbline(node, "fit", "--live", "-o", "json")
        _, _, other = await plumbline(node, "fit", "--live", "--resource", "nvidia.com/h100")

    assert sorted(json.loads(place)["uuids"]) == now["free_gpus"]
    assert (code, too_many) == (2, "error: 6 GPUs are asked for and 5 are free\n")
    assert len(json.loads(fit)["free"]) == 5
    assert json.loads(fit)["policies"]["single-numa-node"]["now"]["admitted"] == 4
    assert other == "error: the agent offers nvidia.com/gpu: not nvidia.com/h100\n"


async def test_without_an_agent_the_node_as_it_is_is_not_known():
    async with simulated_node() as node:
        code, out, err = await plumbline(node, "fit", "--live")

    assert (code, out) == (1, "")
    assert err.startswith("error: no agent answers at ")
