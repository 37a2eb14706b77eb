"""What the daemon counts, as Prometheus reads it."""

import asyncio
import re
import socket
import urllib.request

import pytest
from daemon_process import changed, simulated_node


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def scrape(port):
    def read():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    lines = (await asyncio.to_thread(read)).splitlines()
    found = (re.fullmatch(r"(plumbline_\S+) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


async def test_placements_and_what_is_left_are_counted():
    port = free_port()
    async with simulated_node() as node:
        await node.serving("--metrics-listen", f"127.0.0.1:{port}")
        await node.logged("metrics")
        empty = await scrape(port)
        await node.admit("trainer", 2)
        await node.admit("single", 1)
        await changed(node.folder, lambda: node.log.read_text().count("event=allocated ") == 2)
        full = await scrape(port)

    gpu = 'resource="nvidia.com/gpu"'
    assert empty['plumbline_aligned_sets_left{size="4"}'] == 2
    assert empty["plumbline_placement_room_ratio"] == 1
    assert empty[f'plumbline_devices{{{gpu},state="free"}}'] == 8
    assert full[f'plumbline_placements_total{{quality="best",{gpu}}}'] == 2
    assert full[f'plumbline_placement_min_pair_gbps_bucket{{le="300.0",{gpu}}}'] == 0
    assert full[f"plumbline_placement_min_pair_gbps_sum{{{gpu}}}"] == 450
    assert full[f"plumbline_placement_numa_nodes_count{{{gpu}}}"] == 2
    assert full[f'plumbline_devices{{{gpu},state="held"}}'] == 3
    assert full['plumbline_aligned_sets_left{size="4"}'] == 1
    assert full['plumbline_best_pair_left_gbps{size="2"}'] == 450
    assert 0 < full["plumbline_placement_room_ratio"] < 1


async def test_metrics_come_and_go_with_the_configuration():
    one, other = free_port(), free_port()
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\n")
        await node.serving("--config-file", str(config))
        config.write_text(f"version: v1\nplumbline: {{metrics: {{listen: '127.0.0.1:{one}'}}}}\n")
        await node.logged(f"metrics address=127.0.0.1:{one}")
        assert await scrape(one)
        config.write_text(f"version: v1\nplumbline: {{metrics: {{listen: '127.0.0.1:{other}'}}}}\n")
        await node.logged(f"metrics address=127.0.0.1:{other}")

        assert await scrape(other)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", one)) != 0


async def test_an_address_in_use_stops_nothing_and_is_taken_when_it_is_free():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with simulated_node() as node:
            await node.serving("--metrics-listen", f"127.0.0.1:{port}")
            await node.logged("metrics_unusable")

            assert len((await node.admit("trainer", 2))[0]) == 2
            taken.close()
            await node.logged(f"metrics address=127.0.0.1:{port}")
            assert await scrape(port)


@pytest.mark.parametrize("address", ["a..b:9400", f"{'x' * 70}:9400", "192.0.2.1:9400"])
async def test_an_address_that_cannot_be_stops_nothing(address):
    async with simulated_node() as node:
        await node.serving("--metrics-listen", address)
        await node.logged("metrics_unusable")

        assert len((await node.admit("trainer", 2))[0]) == 2


async def test_a_full_node_says_nought():
    port = free_port()
    async with simulated_node() as node:
        await node.serving("--metrics-listen", f":{port}")
        await node.logged("metrics")
        await node.admit("all", 8)
        full = await scrape(port)

    assert [full[f'plumbline_aligned_sets_left{{size="{size}"}}'] for size in (2, 4, 8)] == [
        0,
        0,
        0,
    ]
    assert full["plumbline_placement_room_ratio"] == 0
