"""What a running agent says of a node with divided GPUs to who asks."""

import asyncio
import json
import socket
import sys
import urllib.request
from pathlib import Path

from daemon_process import GPU, changed, simulated_node
from mig_machine import divide

from deviceplugin.standin.pods import Container, Pod

PLUMBLINE = Path(sys.executable).with_name("plumbline")
SMALL = "nvidia.com/mig-1g.10gb"


async def plumbline(node, *arguments):
    process = await asyncio.create_subprocess_exec(
        PLUMBLINE, *arguments, "--machine", node.machine, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def admit(node, name, resource, count):
    await node.kubelet.devices(resource, lambda now: len(now) >= count, timeout_s=20)
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    await changed(node.folder, lambda: f"pod=default/{name}\n" in node.log.read_text())
    return allocated.device_ids


async def test_explain_names_the_instances_of_a_pod():
    async with simulated_node() as node:
        divide(node.machine, 1, "19:0", "9:2")
        await node.serving("--mig-strategy=mixed")
        (uuid,) = await admit(node, "notebook", SMALL, 1)

        code, out, _ = await plumbline(node, "explain", "notebook")

    assert code == 0
    lines = out.splitlines()
    assert "nvidia.com/mig-1g.10gb for default/notebook" in lines[0]
    assert lines[1].endswith("free were GPUs 0 2 3 4 5 6 7; packed")
    assert any(line.startswith(f"{uuid}: 1g.10gb of GPU 1, slice ") for line in lines)
    assert "divided: shares of these GPUs" in lines


async def test_status_says_who_holds_what_and_what_is_left_out():
    async with simulated_node() as node:
        divide(node.machine, 1, "19:0", "19:0")
        divide(node.machine, 2)
        await node.serving("--mig-strategy=mixed")
        (uuid,) = await admit(node, "notebook", SMALL, 1)

        _, table, _ = await plumbline(node, "mig", "status", "--live")
        _, told, _ = await plumbline(node, "mig", "status", "--live", "-o", "json")

    assert f"{uuid} is held as {SMALL} by default/notebook" in table
    empty = "it is in MIG mode and has no instances (plumbline mig status)"
    assert f"GPU 2 is left out: {empty}" in table
    gpus = json.loads(told)
    assert [gpu["left_out"] for gpu in gpus] == [None, None, empty, *[None] * 5]
    assert {each["holder"] for each in gpus[1]["instances"]} == {None, "default/notebook"}
    assert {each["resource"] for each in gpus[1]["instances"]} == {SMALL}


async def test_place_and_fit_ask_for_whole_gpus_that_are_free():
    async with simulated_node() as node:
        divide(node.machine, 1, "19:0")
        await node.serving("--mig-strategy=mixed")
        held = await admit(node, "trainer", GPU, 2)
        taken = {1, *(i for i in range(8) if node.uuid(i) in held)}

        _, place, _ = await plumbline(node, "place", "5", "--live", "-o", "json")
        _, fit, _ = await plumbline(node, "fit", "--live", "-o", "json")

    assert len(taken) == 3
    assert set(json.loads(place)["gpus"]) == set(range(8)) - taken
    assert set(json.loads(fit)["gpus"]) == set(range(8)) - {1}
    assert set(json.loads(fit)["free"]) == set(range(8)) - taken


async def test_a_divided_gpu_is_not_counted_as_room():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with simulated_node() as node:
        for gpu in range(4):
            divide(node.machine, gpu, "19:0")
        divide(node.machine, 4)
        await node.serving("--mig-strategy=mixed", "--metrics-listen", f"127.0.0.1:{port}")
        await node.logged("metrics")

        def read():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return answer.read().decode()

        metrics = await asyncio.to_thread(read)

    assert 'plumbline_aligned_sets_left{size="4"} 0.0' in metrics
    assert f'plumbline_devices{{resource="{SMALL}",state="free"}} 4.0' in metrics
    assert 'plumbline_left_out{gpu="' in metrics
